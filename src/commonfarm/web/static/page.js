// What pages do by themselves: times stay right, logs and the journal go on, forms ask first.
"use strict";

const eachIn = (root, selector, act) => root.querySelectorAll(selector).forEach(act);

// Times -----------------------------------------------------------------------------------------
function distance(moment, now) {
  const seconds = Math.round((now - moment) / 1000), size = Math.abs(seconds);
  if (size >= 2 * 86400) return null;
  if (size < 5) return "now";
  const [length, unit] = size >= 3600 ? [3600, "h"] : size >= 60 ? [60, "min"] : [1, "s"];
  const number = Math.floor(size / length);
  return seconds > 0 ? `${number} ${unit} ago` : `in ${number} ${unit}`;
}

function refreshTimes() {
  const now = Date.now();
  eachIn(document, "time[datetime]", (time) => {
    const text = distance(Date.parse(time.dateTime), now);
    if (text && text !== time.textContent) time.textContent = text;
  });
}
setInterval(refreshTimes, 5000);

// Forms that destroy ask first --------------------------------------------------------------------
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// Live streams ------------------------------------------------------------------------------------
// A stream is opened with a token that is good for a minute, and for one connection; the next
// connection asks for a new one and goes on after the last event it saw.
function follow(stream, resumeAt, handlers) {
  let source = null, ended = false, pause = 1000;
  async function connect() {
    let address;
    try {
      const answer = await fetch(`/api/v1/live-token?stream=${encodeURIComponent(stream)}`);
      if (answer.status >= 400 && answer.status < 500) { handlers.state("Sign in again to follow."); return; }
      if (!answer.ok) throw new Error(answer.status);
      const given = await answer.json();
      address = new URL(given.url);
      address.searchParams.set("token", given.token);
      const place = resumeAt();
      if (place) address.searchParams.set("from", place);
    } catch { return again(); }
    source = new EventSource(address);
    source.onopen = () => { pause = 1000; handlers.state(handlers.connected); };
    source.onerror = () => { source.close(); if (!ended) again(); };
    for (const [name, act] of Object.entries(handlers.events)) source.addEventListener(name, act);
  }
  function again() {
    handlers.state("Not connected; trying again…");
    setTimeout(connect, pause);
    pause = Math.min(pause * 2, 30000);
  }
  connect();
  return { end() { ended = true; source?.close(); } };
}

// Logs are hostile: they are only ever put in as text, without their control sequences.
const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]/g;
const CONTROLS = /[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f\u202a-\u202e\u2066-\u2069]/g;
const MOST_SHOWN = 4 * 1024 * 1024;

function plain(text) {
  return text.replace(ESCAPES, "").replace(/\r\n/g, "\n").replace(/[^\n]*\r(?=[^\n])/g, "").replace(CONTROLS, "").replace(/\x1b/g, "");
}

function liveLog(section) {
  const pre = section.querySelector("[data-log-text]"), state = section.querySelector("[data-log-state]");
  const box = section.querySelector("[data-log-follow]");
  let offset = Number(section.dataset.from || 0), shown = pre.textContent.length, held = "";
  const decoder = new TextDecoder("utf-8", { fatal: false });
  pre.textContent = plain(pre.textContent);
  const toEnd = () => { if (box.checked) pre.scrollTop = pre.scrollHeight; };
  pre.addEventListener("scroll", () => { box.checked = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 24; });
  box.addEventListener("change", toEnd);
  function put(text) {
    // An unfinished line or escape waits for its end, so that sequences are not cut in two.
    held += text;
    const cut = held.lastIndexOf("\n") + 1;
    const ready = held.length - cut > 8192 ? held.length : cut;
    if (ready === 0) return;
    const piece = plain(held.slice(0, ready));
    held = held.slice(ready);
    pre.append(document.createTextNode(piece));
    shown += piece.length;
    while (shown > MOST_SHOWN && pre.firstChild !== pre.lastChild) {
      shown -= pre.firstChild.length;
      pre.firstChild.remove();
    }
    toEnd();
  }
  const stream = follow(section.dataset.stream, () => String(offset), {
    connected: "Live",
    state: (text) => { if (state.textContent !== text) state.textContent = text; },
    events: {
      piece: (event) => {
        const bytes = Uint8Array.from(atob(event.data), (letter) => letter.charCodeAt(0));
        offset = Number(event.lastEventId);
        put(decoder.decode(bytes, { stream: true }));
      },
      end: (event) => {
        stream.end();
        put(decoder.decode() + "\n");
        state.textContent = event.data ? `Ended: ${event.data}` : "Ended";
        document.body.dispatchEvent(new CustomEvent("log-ended", { bubbles: true }));
      },
    },
  });
  toEnd();
}

// The journal: new lines come in on top.
function liveJournal(body) {
  const state = document.querySelector("[data-journal-state]"), template = document.querySelector("#journal-line");
  const subject = body.dataset.subject;
  let place = body.dataset.from;
  follow("journal", () => place, {
    connected: "Live",
    state: (text) => { if (state.textContent !== text) state.textContent = text; },
    events: {
      entry: (event) => {
        place = event.lastEventId;
        const entry = JSON.parse(event.data);
        if (subject && entry.subject !== subject) return;
        const row = template.content.firstElementChild.cloneNode(true);
        const time = row.querySelector("time");
        time.dateTime = entry.at;
        time.title = entry.at;
        time.textContent = distance(Date.parse(entry.at), Date.now()) ?? entry.at;
        for (const name of ["what", "who", "why"]) row.querySelector(`[data-${name}]`).textContent = entry[name];
        const link = row.querySelector("[data-subject] a");
        link.textContent = entry.subject;
        link.href = `?subject=${encodeURIComponent(entry.subject)}`;
        body.prepend(row);
        while (body.rows.length > 1000) body.lastElementChild.remove();
        document.querySelector("[data-journal-empty]")?.remove();
        body.closest("table").hidden = false;
      },
    },
  });
}

function begin(root) {
  eachIn(root, "[data-log-text]", (pre) => {
    pre.textContent = plain(pre.textContent);
    pre.scrollTop = pre.scrollHeight; // how it ended is what a reader wants first
  });
  eachIn(root, "[data-log][data-stream]", liveLog);
  eachIn(root, "[data-journal]", liveJournal);
  refreshTimes();
}
begin(document);

// Parts that refresh themselves: not behind the reader's back, and not while they hold the focus or
// a selection there. When the session has ended the page as a whole asks to sign in.
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.detail.target, selection = window.getSelection();
  const held = part.contains(document.activeElement) || (!selection.isCollapsed && part.contains(selection.anchorNode));
  if (event.detail.requestConfig.verb === "get" && (document.hidden || held)) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (!new URL(event.detail.xhr.responseURL).pathname.startsWith("/sign-in/")) return;
  event.detail.shouldSwap = false;
  window.location.reload();
});
document.addEventListener("htmx:afterSettle", refreshTimes);
