// Dialogs over the page, which are gone once they are closed.

import { el } from "./dom.js";

/**
 * Opens a dialog with this content, which `close` is a button of. Returns it with a signal that is
 * aborted once it is closed.
 */
export function openDialog(label, styles, content, close) {
  const leaving = new AbortController();
  const dialog = el("dialog", { class: styles, "aria-label": label }, content);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    leaving.abort();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, signal: leaving.signal };
}
