// What a page does beyond HTML: live updates, CSRF for htmx, relative times, copy buttons, focus. Nothing depends on it.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

  // --- htmx: the CSRF token goes along, and the focus goes where the answer is ---

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["x-csrftoken"] = meta("csrf-token");
  });

  document.addEventListener("htmx:afterSettle", (event) => {
    prepare(event.detail.elt);
    const request = event.detail.requestConfig;
    if (!request || request.verb === "get" || request.triggeringEvent?.type === "live") return; // never take the focus from a reader
    const target = event.detail.target;
    const came = event.detail.elt;
    const within = () => (came.matches?.("[data-focus]") ? came : came.querySelector?.(".error-summary, [data-focus]"));
    const answer = target?.id === "notices" ? target : within();
    if (!answer) return;
    if (!answer.hasAttribute("tabindex")) answer.tabIndex = -1;
    answer.focus();
  });

  // Nobody asked for a live refetch, so a refusal of one (a session that has just ended) is nothing to tell.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.isError && event.detail.requestConfig?.triggeringEvent?.type === "live") event.detail.shouldSwap = false;
  });

  document.addEventListener("htmx:sendError", () => notice("The portal did not answer. Nothing was sent; try again."));

  function notice(text) {
    const box = document.getElementById("notices");
    if (!box) return;
    const line = document.createElement("p");
    line.className = "alert alert-warning";
    line.textContent = text;
    box.replaceChildren(line);
  }

  // --- live: one WebSocket for all topics on the page; a message makes its elements refetch themselves ---

  let socket = null;
  let attempts = 0;
  let missed = false; // a gap in the connection: refetch everything once it is back

  const topics = () => [...new Set(all("[data-live]").flatMap((el) => el.dataset.live.split(/[\s,]+/)).filter(Boolean))].sort();

  function tell(topic, detail) {
    for (const el of all("[data-live]")) {
      if (topic !== null && !el.dataset.live.split(/[\s,]+/).includes(topic)) continue;
      el.dispatchEvent(new CustomEvent("live", { detail }));
      if (topic !== null && el.dataset.liveNotice) announce(el.dataset.liveNotice);
    }
  }

  function announce(text) {
    const box = document.getElementById("live-state");
    const word = box?.querySelector("[data-live-word]");
    if (!word) return;
    word.textContent = text;
    clearTimeout(announce.timer);
    announce.timer = setTimeout(() => show(box.dataset.state), 6000);
  }

  function show(state) {
    const box = document.getElementById("live-state");
    if (!box) return;
    const words = { live: "Live: this page follows changes", reconnecting: "Reconnecting…" };
    box.hidden = false;
    box.dataset.state = state;
    box.querySelector("[data-live-word]").textContent = words[state];
  }

  function connect() {
    const wanted = topics();
    if (!wanted.length || socket) return;
    const url = new URL("/ws", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("topics", wanted.join(","));
    socket = new WebSocket(url);
    socket.topics = wanted.join(",");
    socket.onopen = () => {
      attempts = 0;
      show("live");
      if (missed) tell(null, {});
      missed = false;
    };
    socket.onmessage = (event) => {
      let message;
      try { message = JSON.parse(event.data); } catch { return; }
      if (message.topic) tell(message.topic, message);
    };
    socket.onclose = () => {
      socket = null;
      missed = true;
      show("reconnecting");
      const wait = Math.min(30000, 500 * 2 ** attempts) * (0.5 + Math.random());
      attempts += 1;
      setTimeout(connect, wait);
    };
  }

  function followTopics() {
    if (socket && socket.topics !== topics().join(",")) socket.close();
    else connect();
  }

  // --- times: "in 3 days" stays true while the page is open, by the portal's clock and not the reader's ---

  const served = Date.parse(meta("server-now"));
  const offset = Number.isNaN(served) ? 0 : served - Date.now();

  // The same words as the filter `relative` of portal/pages/filters.py: the two largest units, to the minute.
  function relative(when) {
    const span = when - (Date.now() + offset);
    if (Math.abs(span) < 45000) return "now";
    let minutes = Math.max(1, Math.round(Math.abs(span) / 60000));
    const parts = [];
    for (const [unit, size] of [["day", 1440], ["hour", 60], ["minute", 1]]) {
      const count = Math.floor(minutes / size);
      minutes %= size;
      if (count) parts.push(`${count} ${unit}${count === 1 ? "" : "s"}`);
      else if (parts.length) break;
    }
    const words = parts.slice(0, 2).join(" ");
    return span > 0 ? `in ${words}` : `${words} ago`;
  }

  function refreshTimes() {
    for (const el of all("time[data-relative]")) {
      const when = Date.parse(el.dateTime);
      if (!Number.isNaN(when)) el.textContent = relative(when);
    }
  }

  // --- small things: copy, dialogs, panels, unsaved text ---

  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const word = copy.querySelector(".copy-text");
      copy.dataset.word ??= word.innerHTML;
      try {
        await navigator.clipboard.writeText(copy.dataset.copy);
        word.textContent = "Copied";
      } catch {
        word.textContent = "Select and copy by hand";
      }
      setTimeout(() => { word.innerHTML = copy.dataset.word; }, 2000);
      return;
    }
    const opener = event.target.closest("[data-dialog]");
    const dialog = opener && document.getElementById(opener.dataset.dialog);
    if (dialog?.showModal) {
      event.preventDefault();
      dialog.showModal();
      return;
    }
    const closer = event.target.closest("[data-close]");
    if (closer) {
      closer.closest("dialog")?.close();
      const panel = closer.closest("details");
      if (panel) { panel.open = false; panel.querySelector("summary").focus(); }
      return;
    }
    const line = event.target.closest("[data-line]");
    const text = line && document.getElementById(line.hash.slice(1));
    if (text?.setSelectionRange) {
      event.preventDefault();
      const lines = text.value.split("\n");
      const start = lines.slice(0, line.dataset.line - 1).join("\n").length + (line.dataset.line > 1 ? 1 : 0);
      text.focus();
      text.setSelectionRange(start, start + (lines[line.dataset.line - 1] ?? "").length);
      text.scrollTop = (text.scrollHeight / lines.length) * Math.max(0, line.dataset.line - 4);
      return;
    }
    for (const menu of all("details.account[open]")) if (!menu.contains(event.target)) menu.open = false;
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const panel = event.target.closest?.("details.account[open], details.confirm[open]");
    if (panel) { panel.open = false; panel.querySelector("summary").focus(); }
  });

  let unsaved = false;
  document.addEventListener("input", (event) => { if (event.target.closest("form[data-guard]")) unsaved = true; });
  document.addEventListener("submit", () => { unsaved = false; });
  window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

  function prepare(root) {
    for (const button of all("[data-copy][hidden], [data-close][hidden]", root.querySelectorAll ? root : document)) button.hidden = false;
    refreshTimes();
    followTopics();
  }

  prepare(document);
  document.querySelector(".error-summary")?.focus();
  setInterval(refreshTimes, 20000);
})();
