// Keeps a page as it is in the controller: follows its events, asks for the same page again when something has
// happened, and every few seconds, and puts in place what has changed. What cannot be asked for looks stale.
"use strict";

(() => {
  const EVERY = 5000;      // ms between two looks without an event: ages and rates change by themselves
  const PATIENCE = 4000;   // ms for an answer
  const AGAIN = 5000;      // ms until a stream that was refused is asked for anew
  const TOGETHER = 60;     // ms in which several events lead to one look
  const live = document.getElementById("live");
  const kinds = document.body.dataset.kinds.split(" ");
  const version = document.querySelector("meta[name=version]").content;
  let event = document.body.dataset.event;
  let stream = null;
  let isOpen = false;
  let since = null;
  let isAsking = false;
  let isToAsk = false;
  let soon = 0;

  const clock = (time) => time.toISOString().slice(11, 19) + " UTC";

  const show = (state) => {
    if (state === "live") since = null;
    else since = since || new Date();
    const text = {
      live: "live",
      asking: since && `not live since ${clock(since)}; asks every ${EVERY / 1000} s`,
      stale: since && `not live since ${clock(since)}`,
    }[state];
    document.body.classList.toggle("stale", state === "stale");
    if (live.dataset.state !== state || live.textContent !== text) {
      live.dataset.state = state;
      live.textContent = text;
    }
  };

  const find = (root, part) => root.querySelector(`[data-part="${CSS.escape(part)}"]`);

  // Put a part in the place of the one before; whatever of it has the focus has it again.
  const replace = (old, fresh) => {
    if (old.outerHTML === fresh.outerHTML) return;
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const link = focused && focused.getAttribute("href");
    const scrolled = [...old.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    old.replaceWith(fresh);
    fresh.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = scrolled[index] || 0; });
    if (focused) {
      const again = link ? fresh.querySelector(`a[href="${CSS.escape(link)}"]`) : fresh.querySelector("[tabindex]");
      if (again) again.focus({ preventScroll: true });
    }
  };

  const take = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const its = fresh.querySelector("meta[name=version]");
    if (!its || its.content !== version) {
      location.reload();
      return;
    }
    event = fresh.body.dataset.event;
    document.title = fresh.title;
    const parts = [...fresh.querySelectorAll("[data-part]")];
    const names = (root) => [...root.querySelectorAll("[data-part]")].map((each) => each.dataset.part).join(" ");
    if (names(document) === names(fresh)) {
      for (const each of parts) replace(find(document, each.dataset.part), document.adoptNode(each));
    } else {
      document.getElementById("main").replaceWith(document.adoptNode(fresh.getElementById("main")));
    }
  };

  const ask = async () => {
    if (document.hidden) return;
    if (isAsking) {
      isToAsk = true;
      return;
    }
    isAsking = true;
    try {
      do {
        isToAsk = false;
        const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
        const text = await answer.text();
        if (!(answer.headers.get("Content-Type") || "").startsWith("text/html")) throw new Error("no page");
        take(text);
        show(isOpen ? "live" : "asking");
      } while (isToAsk);
    } catch {
      show("stale");
    } finally {
      isAsking = false;
    }
  };

  const askSoon = () => {
    clearTimeout(soon);
    soon = setTimeout(ask, TOGETHER);
  };

  const follow = () => {
    stream = new EventSource(`/v1/events?since=${encodeURIComponent(event)}`);
    const own = stream;
    own.addEventListener("open", () => {
      isOpen = true;
      ask();
    });
    own.addEventListener("error", () => {
      isOpen = false;
      show("stale");
      ask();
      if (own.readyState === EventSource.CLOSED) setTimeout(() => own === stream && !document.hidden && follow(), AGAIN);
    });
    for (const kind of [...kinds, "reset"]) own.addEventListener(kind, askSoon);
  };

  const leave = () => {
    if (stream) stream.close();
    stream = null;
    isOpen = false;
  };

  // A page that nobody looks at takes no stream: there are few.
  document.addEventListener("visibilitychange", () => {
    leave();
    if (!document.hidden) follow();
  });
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", (shown) => { if (shown.persisted && !stream) follow(); });

  if (Number(document.body.dataset.refresh)) {  // else it is an answer to a form, and stays as it is
    follow();
    setInterval(ask, EVERY);
  }
})();
