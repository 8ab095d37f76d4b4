// What markup alone cannot do. Without this file every page and every button still works.
(() => {
  const all = (selector) => document.querySelectorAll(selector);
  const byId = (id) => document.getElementById(id);
  const on = (name, listener, target = document) => target.addEventListener(name, listener, true);
  const wide = matchMedia("(min-width: 62rem)");

  // Times come in UTC. Here they are said in the phone's own zone, and ages count on.
  const clock = { hour: "2-digit", minute: "2-digit" }, day = { day: "numeric", month: "short" };
  const units = (big, name, small, last) => big + name + (small ? " " + small + last : "");
  const long = (s) => {
    const m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
    if (d > 0) return units(d, " d", h % 24, " h");
    if (h > 0) return units(h, " h", m % 60 && String(m % 60).padStart(2, 0), "");
    return m > 0 ? m + " min" : Math.max(0, Math.floor(s)) + " s";
  };
  const say = {
    at: (time) => time.toLocaleString([], time.toDateString() === new Date().toDateString() ? clock : { ...day, ...clock }),
    since: (time, s) => long(s),
    ago: (time, s) => (s < 10 ? "just now" : long(s) + " ago"),
  };
  function tick() {
    for (const element of all("time")) {
      // The age of a live row is that of its source's line: no row is sent when a sync confirms it.
      const time = new Date((byId(element.dataset.of)?.firstElementChild ?? element).dateTime);
      const text = say[element.className](time, (Date.now() - time) / 1000);
      if (element.textContent !== text) element.textContent = text;
    }
    for (const bar of all(".used")) {
      bar.setAttribute("width", Math.min(100, (Date.now() / 10 - bar.dataset.since * 100) / bar.dataset.limit));
    }
  }

  // A changed row stays in its place; one that is new to its group goes to its top.
  // In a group beyond what is loaded, it comes with its page.
  let api;
  htmx.registerExtension("place", {
    init: (internal) => { api = internal; },
    handle_swap(style, group, fragment) {
      if (style !== "place") return false;
      const row = fragment.firstElementChild, old = byId(row.id), more = all(".more")[0];
      if (old?.parentNode !== group) {
        if (more && !group.contains(more) && more.compareDocumentPosition(group) & 4) { old?.remove(); return []; }
        if (!old) { group.prepend(row); return [row]; }
        // Moved, not made anew: the focus stays where it is.
        group.moveBefore ? group.moveBefore(old, group.firstChild) : group.prepend(old);
      }
      api.morph(old, fragment, false);
      return [byId(row.id)];
    },
  });

  // A job opens beside the list, or over it; the list stays as it was, for the way back.
  let fromList;
  on("click", (event) => {
    const link = event.target.closest("a.open, #home"), job = byId("job");
    if (!link || !job || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const isOpen = job.firstElementChild;
    if (link.id !== "home") {
      fromList = !isOpen;
      htmx.ajax("GET", link.getAttribute("href"), { target: job, swap: "innerHTML show:#job:top", push: "true" });
    } else if (fromList && isOpen) history.back();
    else return;
    event.preventDefault();
  });
  function fillList() {
    if (wide.matches && byId("list") && !byId("jobs")) htmx.ajax("GET", "/", { target: "#list", swap: "innerHTML" });
  }

  function settle() {
    tick();
    const shown = all("#job .page")[0]?.id.replace("job-", "j");
    for (const row of all(".job")) row.ariaCurrent = row.id === shown ? "true" : null;
    for (const toast of all(".toast:not([data-seen])")) {
      toast.dataset.seen = "";
      const expire = () => setTimeout(() => (toast.matches(":hover, :focus-within") ? expire() : toast.remove()), 6000);
      expire();
    }
  }

  // Where nobody looks or nothing can come, nothing is asked. What was missed comes afterwards, at once.
  const offline = (is) => { byId("offline").hidden = !is; };
  function catchUp() {
    offline(!navigator.onLine);
    if (document.hidden) return;
    tick();
    for (const poll of all("[hidden][hx-ptag]")) htmx.trigger(poll, "every");
  }
  on("online", catchUp, window);
  on("offline", catchUp, window);
  on("visibilitychange", catchUp);
  on("htmx:before:request", (event) => {
    if (event.detail.ctx.sourceEvent?.type === "every" && (document.hidden || !navigator.onLine)) event.preventDefault();
  });
  on("htmx:after:request", () => offline(false));
  on("htmx:error", ({ detail }) => { if (detail.ctx && !detail.ctx.response) offline(true); });
  on("htmx:after:swap", settle);
  on("toggle", ({ target }) => { if (target.id === "find" && target.open) byId("q").focus(); });
  on("change", fillList, wide);
  on("DOMContentLoaded", () => { offline(!navigator.onLine); settle(); fillList(); setInterval(tick, 5000); });
})();
