// What markup alone cannot do. Without this file every page and every button still works.
(() => {
  const all = (selector) => document.querySelectorAll(selector);
  const byId = (id) => document.getElementById(id);
  const wide = matchMedia("(min-width: 62rem)");

  // Times come spelled out in UTC. Here they are said in the phone's own zone, and ages count on.
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const at = (time) => (time.toDateString() === new Date().toDateString() ? "" : day.format(time) + ", ") + clock.format(time);
  const long = (seconds) => {
    const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
    if (!minutes) return Math.max(0, Math.floor(seconds)) + " s";
    if (!hours) return minutes + " min";
    if (!days) return hours + " h" + (minutes % 60 ? " " + String(minutes % 60).padStart(2, "0") : "");
    return days + " d" + (hours % 24 ? " " + (hours % 24) + " h" : "");
  };
  const ago = (seconds) => (seconds < 10 ? "just now" : long(seconds) + " ago");
  function tick() {
    for (const element of all("time")) {
      // The age of a live row is that of its source, whose line moves when a sync confirmed its rows.
      const of = byId(element.dataset.of)?.firstElementChild ?? element;
      const time = new Date(of.dateTime), seconds = (Date.now() - time) / 1000;
      const text = element.className === "at" ? at(time) : element.className === "since" ? long(seconds) : ago(seconds);
      if (element.textContent !== text) element.textContent = text;
      element.title = time.toLocaleString();
    }
    for (const bar of all(".used")) {
      bar.setAttribute("width", Math.min(100, (Date.now() / 1000 - bar.dataset.since) / bar.dataset.limit * 100));
    }
  }

  // A changed row stays where it is; one that is new or changed its group goes to its group's top.
  // Where the group is further down than what has been loaded, it comes with the page that it is on.
  let htmxApi;
  htmx.registerExtension("place", {
    init: (api) => { htmxApi = api; },
    handle_swap(style, group, fragment) {
      if (style !== "place") return false;
      const row = fragment.firstElementChild, old = byId(row.id);
      const more = document.querySelector("#jobs .more");
      const isBeyond = more && !group.contains(more) && more.compareDocumentPosition(group) & Node.DOCUMENT_POSITION_FOLLOWING;
      if (old?.parentNode !== group) {
        if (isBeyond) { old?.remove(); return []; }
        if (!old) { group.prepend(row); return [row]; }
        // Moved, not made anew: the focus stays where it is.
        group.moveBefore ? group.moveBefore(old, group.firstChild) : group.prepend(old);
      }
      htmxApi.morph(old, fragment, false);
      return [byId(row.id)];
    },
  });

  // A job opens beside the list, or over it; the list stays as it was, for the way back.
  document.addEventListener("click", (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest?.("a.open, #home");
    if (!link || !byId("job")) return;
    if (link.id === "home") {
      if (!opened || !byId("jobs") || !byId("job").firstElementChild) return;
      event.preventDefault();
      history.back();
      return;
    }
    event.preventDefault();
    opened = !byId("job").firstElementChild;
    htmx.ajax("GET", link.getAttribute("href"), { target: "#job", swap: "innerHTML show:#job:top", push: "true" });
  });
  let opened = false; // the entry before this one is the list

  // On a wide screen a job's page has the list at its side.
  function fillList() {
    if (wide.matches && byId("list") && !byId("jobs")) htmx.ajax("GET", "/", { target: "#list", swap: "innerHTML" });
  }
  wide.addEventListener("change", fillList);

  function settle() {
    tick();
    const shown = document.querySelector("#job .page")?.id.replace("job-", "j");
    for (const row of all(".job")) row.ariaCurrent = row.id === shown ? "true" : null;
    for (const toast of all(".toast:not([data-seen])")) {
      toast.dataset.seen = "";
      const expire = () => (toast.matches(":hover, :focus-within") ? setTimeout(expire, 2000) : toast.remove());
      setTimeout(expire, 6000);
    }
  }

  const online = () => { byId("offline").hidden = navigator.onLine; };
  addEventListener("online", online);
  addEventListener("offline", online);
  const isPoll = (ctx) => ctx?.sourceEvent?.type === "every";
  // Nobody looks, or nothing can come: no request is made. What was missed is asked for when somebody looks again.
  document.addEventListener("htmx:before:request", (event) => {
    if (isPoll(event.detail.ctx) && (document.hidden || !navigator.onLine)) event.preventDefault();
  });
  const catchUp = () => { if (!document.hidden) { tick(); for (const poll of all("[hidden][hx-ptag]")) htmx.trigger(poll, "every"); } };
  document.addEventListener("visibilitychange", catchUp);
  addEventListener("online", catchUp);
  document.addEventListener("htmx:after:request", (event) => {
    byId("offline").hidden = true;
  });
  document.addEventListener("htmx:error", (event) => {
    if (event.detail.ctx && !event.detail.ctx.response) byId("offline").hidden = false;
  });
  document.addEventListener("htmx:after:swap", settle);
  document.addEventListener("toggle", (event) => { if (event.target.id === "find" && event.target.open) byId("q").focus(); }, true);
  addEventListener("DOMContentLoaded", () => { online(); settle(); fillList(); setInterval(tick, 5000); });
})();
