// Replaces the parts with their present state, as long as the page is open and visible.
"use strict";

const PAUSE = 2000;
const notice = document.getElementById("notice");

async function refresh() {
  try {
    if (!document.hidden) {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      if (!answer.ok) throw new Error(`the shop answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelector("main").replaceWith(page.querySelector("main"));
      notice.textContent = page.getElementById("notice").textContent;
      notice.className = page.getElementById("notice").className;
    }
  } catch (error) {
    notice.textContent = `The shop does not answer; the state below is old (${error.message}).`;
    notice.className = "down";
  }
  setTimeout(refresh, PAUSE);
}

setTimeout(refresh, PAUSE);
