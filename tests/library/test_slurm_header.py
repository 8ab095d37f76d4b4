"""What a person asks for, as lines that sbatch reads: checked, or refused with a sentence."""

from typing import Any

import pytest

from remotejobs.errors import BadInput
from remotejobs.schedulers.slurm import Slurm


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, []),
        ({"walltime": 60}, ["--time=0-00:01:00"]),
        ({"walltime": 90061}, ["--time=1-01:01:01"]),
        ({"walltime": "3600"}, ["--time=0-01:00:00"]),
        ({"cores": 4}, ["--ntasks=1", "--cpus-per-task=4"]),
        ({"memory": 2048}, ["--mem=2048M"]),
        ({"gpus": 2}, ["--gres=gpu:2"]),
        ({"partition": "main,long-2"}, ["--partition=main,long-2"]),
        ({"account": "lab.a", "qos": "high"}, ["--account=lab.a", "--qos=high"]),
        ({"extra": ["--exclusive", " #SBATCH -C haswell "]}, ["--exclusive", "-C haswell"]),
        ({"walltime": None, "partition": "", "extra": None}, []),
        ({"scheduler": "slurm", "shell": "/bin/bash"}, []),  # the words of others are not its business
    ],
)
def test_options_become_lines_that_sbatch_reads(options: dict[str, Any], lines: list[str]) -> None:
    assert Slurm().header(options, "") == [f"#SBATCH {line}" for line in lines]


@pytest.mark.parametrize("name", ["a name", 'a "b" c', "back\\slash", "Grüße", "a#b", "-x", "$HOME `id`"])
def test_a_job_name_is_quoted_as_sbatch_quotes(name: str) -> None:
    (line,) = Slurm().header({}, name)
    inside = line.removeprefix('#SBATCH --job-name="').removesuffix('"')
    assert inside.replace('\\"', '"').replace("\\\\", "\\") == name


@pytest.mark.parametrize(
    "options",
    [
        {"walltime": 0},
        {"walltime": -5},
        {"walltime": True},
        {"walltime": 1.5},
        {"walltime": "1:00"},
        {"walltime": "٣"},
        {"walltime": 10**12},
        {"cores": "4; rm -rf ~"},
        {"memory": "4G"},
        {"gpus": [1]},
        {"partition": "main\n#SBATCH --uid=0"},
        {"partition": "main x"},
        {"partition": "-x"},
        {"account": "a$(id)"},
        {"account": "a,b"},
        {"qos": "q" * 201},
        {"extra": "--exclusive"},
        {"extra": [5]},
        {"extra": ["--exclusive\nrm"]},
        {"extra": ["rm -rf ~"]},
        {"extra": ["--comment=\x1b[2J"]},
        {"extra": ["--array=1-3"]},
        {"extra": ["-x n1 -a1-3"]},
    ],
    ids=repr,
)
def test_what_cannot_stand_in_a_header_is_refused_with_a_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as refusal:
        Slurm().header(options, "")
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x1bb", "a\x85b", "n" * 201])
def test_a_job_name_of_more_than_one_line_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        Slurm().header({}, name)


SCRIPT = """\
#!/bin/bash
# a comment
#SBATCH --time=10   # ten minutes
  #SBATCH --mem=1G
#SBATCH\t-p main

##SBATCH --nodes=2
#SBATCHES --nodes=3
#SBATCH --mail-type=END\r
module load x
#SBATCH --nodes=4
"""


def test_directives_are_lifted_by_slurms_own_rule() -> None:
    assert Slurm().directives(SCRIPT) == [
        "#SBATCH --time=10   # ten minutes",
        "#SBATCH -p main",
        "#SBATCH --mail-type=END",
    ]


@pytest.mark.parametrize("script", ["", "#!/bin/sh", "#!/bin/sh\necho\n", "echo\n#SBATCH -n 2\n"])
def test_a_script_without_directives_has_none(script: str) -> None:
    assert Slurm().directives(script) == []


@pytest.mark.parametrize(
    "option",
    [
        "--array=1-10",
        "-a 1-10",
        "-a1-10",
        "--arr 1",
        "--clusters=all",
        "-M all",
        "--wait",
        "-W",
        "--hold",
        "-H",
        "-Qa1-5",
        "-QH",
        "-vvW",
        "-sOa 1-5",
        "-QMall",
    ],
)
def test_directives_that_one_record_of_one_job_cannot_have_are_refused(option: str) -> None:
    with pytest.raises(BadInput, match="which a job that is submitted here cannot have"):
        Slurm().directives(f"#!/bin/sh\n#SBATCH {option}\n")


@pytest.mark.parametrize(
    "option",
    [
        "--account=array",
        "-A hold",
        "--wait-all-nodes=1",
        "--comment='--array'",
        "-Jarray",
        "-QJMAW",
        "-pHall",
        "-",
    ],
)
def test_directives_that_only_resemble_those_are_kept(option: str) -> None:
    assert Slurm().directives(f"#!/bin/sh\n#SBATCH {option}\n") == [f"#SBATCH {option}"]
