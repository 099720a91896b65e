// A list as a file, with the filters that are chosen: asked for like everything else, so that the caller's credentials go
// along, and saved when all of it is here.

import { explain } from "./errors.js";
import { h } from "./dom.js";

/** A button that saves what `fetchFile()` gets. `say` tells what became of it, and `fail` may take an error itself. */
export function downloadButton(label, { fetchFile, say, fail = () => false }) {
  const button = h("button", { type: "button", class: "button small", onclick: save }, label);

  async function save() {
    button.disabled = true;
    say("Preparing the file…");
    try {
      const { blob, name } = await fetchFile();
      offer(blob, name);
      say("The file is saved.");
    } catch (error) {
      if (fail(error)) return;
      const { title, text } = explain(error);
      say(`${title}. ${text}`);
    } finally {
      button.disabled = false;
    }
  }

  return button;
}

function offer(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // Browsers read it after the click.
}
