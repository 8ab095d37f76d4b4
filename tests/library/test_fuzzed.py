"""The long form of what is told of any input: a million of them, for what reads records, answers, servers and states.

Hypothesis makes one, and cheap edits at random make many more of it: it alone would take hours.
"""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from library.test_destination import SERVERS, a_destination_round_trips_or_is_a_sentence
from library.test_exchange import EDITS, WORD, a_true_answer, an_edited_answer_is_read_or_refused
from library.test_records import RECORD_TEXTS, a_record_is_read_or_is_none
from library.test_states import TOLD, a_state_has_evidence

INPUTS = int(os.environ.get("FUZZ_INPUTS", "1000000"))  # of all four together
FIRST_SEED = int(os.environ.get("FUZZ_SEED", "1"))
EXAMPLES = 200  # of hypothesis at a time: it remembers what it tried, and would slow down and swell
RELATIVES = 50  # of each

PIECES = [
    *'\0 \n\t=|:@[]{}"\\_.-09af\x1b\x9b\u202e\u0661\ud800\U0001f600',
    *("end", "q|", "a|", "n|", "gone"),
]


def other_text(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        put = chance.choice(PIECES) if chance.random() < 0.7 else chr(chance.randrange(0x110000))
        text = text[:at] + put * chance.choice((0, 1, 1, 2, 50)) + text[at + chance.choice((0, 0, 1, 2, 8)) :]
    return text


def other_facts(told: Any, chance: random.Random) -> Any:
    facts, identity, queues = told
    facts = {name: dict(words) for name, words in facts.items()}
    for words in facts.values():
        if words and chance.random() < 0.5:
            word = chance.choice(list(words))
            words[word] = other_text(words[word], chance)
    queues = [
        replace(
            queue,
            lines=[other_text(line, chance) if chance.random() < 0.4 else line for line in queue.lines],
            complete=queue.complete ^ (chance.random() < 0.2),
        )
        for queue in queues
    ]
    return facts, identity, queues


def other_edits(edits: Any, chance: random.Random) -> Any:
    put = [b"\n", f"\n{WORD} ".encode(), b"closed", b"|", b"-1", chance.randbytes(chance.randint(0, 12))]
    mine = [(chance.random(), chance.randint(0, 40), chance.choice(put)) for _ in range(chance.randint(1, 3))]
    return [*edits, *mine]


@dataclass
class Part:
    share: float
    inputs: SearchStrategy[Any]
    check: Callable[..., None]
    other: Callable[[Any, random.Random], Any]


PARTS = {
    "records": Part(0.4, RECORD_TEXTS, a_record_is_read_or_is_none, other_text),
    "servers": Part(0.3, SERVERS, a_destination_round_trips_or_is_a_sentence, other_text),
    "states": Part(0.2, TOLD, a_state_has_evidence, other_facts),
    "answers": Part(0.1, EDITS, an_edited_answer_is_read_or_refused, other_edits),
}


@pytest.mark.soak
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("name", PARTS)
def test_a_million_inputs_are_read_or_refused(name: str, tmp_path: Path) -> None:
    part, tried = PARTS[name], 0
    check = partial(part.check, a_true_answer(tmp_path)) if name == "answers" else part.check

    def try_it(value: Any, chance: random.Random) -> None:
        nonlocal tried
        check(value)
        for _ in range(RELATIVES):
            value = part.other(value, chance) if chance.random() < 0.3 else value
            check(part.other(value, chance))
        tried += 1 + RELATIVES

    began, number = time.monotonic(), FIRST_SEED
    while tried < INPUTS * part.share:
        _one_batch(part.inputs, try_it, number)
        number += 1
    print(f"{name}: {tried} inputs, seeds {FIRST_SEED} to {number - 1}, {time.monotonic() - began:.0f} s")


def _one_batch(
    inputs: SearchStrategy[Any], try_it: Callable[[Any, random.Random], None], number: int
) -> None:
    options = settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    chance = random.Random(number)

    @seed(number)
    @options
    @given(inputs)
    def run(value: Any) -> None:
        try_it(value, chance)

    run()
