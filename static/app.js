// What markup alone cannot do. Without it every page and button still works.
(() => {
  const page = document, byId = (id) => page.getElementById(id), all = (selector) => page.querySelectorAll(selector);
  const on = (name, listener, target = page) => target.addEventListener(name, listener, true);
  const wide = matchMedia("(min-width: 62rem)");

  // Times come in UTC: they are said in the phone's zone, and ages count on.
  const long = (seconds) => {
    const s = Math.max(0, seconds | 0), m = (s / 60) | 0, h = (m / 60) | 0, d = (h / 24) | 0;
    if (d) return d + " d" + (h % 24 ? ` ${h % 24} h` : "");
    if (h) return h + " h" + (m % 60 ? " " + String(m % 60).padStart(2, 0) : "");
    return m ? m + " min" : s + " s";
  };
  const say = {
    at: (time) => {
      const isToday = time.toDateString() === new Date().toDateString();
      return time.toLocaleString([], { dateStyle: isToday ? undefined : "medium", timeStyle: "short" });
    },
    since: (time, s) => long(s),
    ago: (time, s) => (s < 10 ? "just now" : long(s) + " ago"),
  };
  function tick() {
    for (const element of all("time")) {
      // A live row is as old as its source: a sync that confirms it sends no row.
      const time = new Date((byId(element.dataset.of)?.firstElementChild ?? element).dateTime);
      element.textContent = say[element.className](time, (Date.now() - time) / 1000);
    }
    for (const bar of all(".used")) {
      bar.setAttribute("width", Math.min(100, (Date.now() / 1000 - bar.dataset.since) / bar.dataset.limit * 100));
    }
  }

  // A changed row stays in its place; one that is new to its group goes to the top,
  // or comes with its page when the group is beyond what is loaded.
  let api;
  htmx.registerExtension("place", {
    init: (internal) => { api = internal; },
    handle_swap(style, group, fragment) {
      if (style !== "place") return false;
      const row = fragment.firstElementChild, old = byId(row.id), more = all(".more")[0];
      if (old?.parentNode !== group) {
        if (more && !group.contains(more) && more.compareDocumentPosition(group) & 4) { old?.remove(); return []; }
        if (!old) { group.prepend(row); return [row]; }
        // Moved, so that it keeps the focus.
        group.moveBefore ? group.moveBefore(old, group.firstChild) : group.prepend(old);
      }
      api.morph(old, fragment, false);
      return [byId(row.id)];
    },
  });

  // A job opens beside the list or over it, and the list stays as it was.
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
    for (const row of all(".job")) row.ariaCurrent = byId("job-" + row.id.slice(1)) ? "true" : null;
    for (const toast of all(".toast:not([data-seen])")) {
      toast.dataset.seen = "";
      const leave = () => setTimeout(() => (toast.matches(":hover, :focus-within") ? leave() : toast.remove()), 6000);
      leave();
    }
  }

  // Where nobody looks or nothing can come, nothing is asked: it comes afterwards.
  const offline = (is) => { byId("offline").hidden = !is; };
  function catchUp() {
    offline(!navigator.onLine);
    if (page.hidden) return;
    tick();
    for (const poll of all("[hidden][hx-ptag]")) htmx.trigger(poll, "every");
  }
  on("online", catchUp, window);
  on("offline", catchUp, window);
  on("visibilitychange", catchUp);
  on("htmx:before:request", (event) => {
    if (event.detail.ctx.sourceEvent?.type === "every" && (page.hidden || !navigator.onLine)) event.preventDefault();
  });
  on("htmx:after:request", ({ detail: { ctx } }) => (ctx.request.method === "POST" ? catchUp() : offline(false)));
  on("htmx:error", ({ detail: { ctx } }) => { if (ctx && !ctx.response) offline(true); });
  on("htmx:after:swap", settle);
  on("toggle", (event) => { if (event.target.id === "find" && event.target.open) byId("q").focus(); });
  on("change", fillList, wide);
  on("DOMContentLoaded", () => { settle(); fillList(); setInterval(tick, 5000); });
})();
