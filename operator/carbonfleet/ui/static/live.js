// Keeps a page up to date: asks for it again, and takes over those parts that are marked as live.
"use strict";

const EVERY_MS = 2000;
const LONGEST_MS = 30000;
let tag = "";
let pause = EVERY_MS;

function placeOf(element) {
  return { id: element.id, left: element.scrollLeft, top: element.scrollTop };
}

function isBusy(part) {
  const selection = document.getSelection();
  return selection && !selection.isCollapsed && part.contains(selection.anchorNode);
}

function takeOver(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const news = fresh.getElementById(part.id);
    if (!news || isBusy(part) || news.innerHTML === part.innerHTML) continue;
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    const places = [...part.querySelectorAll(".scroll[id]")].map(placeOf);
    const open = new Map([...part.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
    part.replaceChildren(...document.importNode(news, true).childNodes);
    for (const [id, isOpen] of open) {
      const details = document.getElementById(id);
      if (details) details.open = isOpen;
    }
    for (const { id, left, top } of places) {
      const region = document.getElementById(id);
      if (region) region.scrollTo(left, top);
    }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }
}

function tell(text, isLost) {
  const place = document.getElementById("connection");
  place.classList.toggle("lost", isLost);
  if (place.textContent !== text) place.textContent = text;
}

async function look() {
  const answer = await fetch(location.href, {
    headers: tag ? { "If-None-Match": tag } : {},
    cache: "no-store",
    signal: AbortSignal.timeout(15000),
  });
  if (answer.status === 304) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!answer.ok && !fresh.getElementById("live")) throw new Error(String(answer.status));
  tag = answer.headers.get("ETag") || "";
  takeOver(fresh);
}

async function keep() {
  if (!document.hidden) {
    try {
      await look();
      pause = EVERY_MS;
      tell("live", false);
    } catch {
      pause = Math.min(LONGEST_MS, pause * 2);
      tell("connection lost: what is shown is old, and is asked for again", true);
    }
  }
  setTimeout(keep, pause * (0.9 + 0.2 * Math.random()));
}

function why(event) {
  const lane = event.target.closest?.("[data-why]");
  const place = document.getElementById("told");
  if (lane && place) place.textContent = lane.dataset.why;
}

document.addEventListener("pointerover", why);
document.addEventListener("focusin", why);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) pause = EVERY_MS;
});
for (const control of document.querySelectorAll("form.controls select")) {
  control.addEventListener("change", () => control.form.requestSubmit());
}
// Where a time line is wider than the window, what is now comes into sight.
for (const region of document.querySelectorAll(".scroll")) {
  const now = region.querySelector(".now-line");
  if (now) region.scrollLeft += now.getBoundingClientRect().left - region.getBoundingClientRect().left - region.clientWidth / 3;
}
tell("live", false);
setTimeout(keep, EVERY_MS);
