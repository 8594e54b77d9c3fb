// The result as a file: the list's export with the search's filters. Words are no filter of a list: it says so.
import { address, ask, hasKey } from "./api.js";
import { words as spoken } from "./format.js";
import { html, useEffect, useRef, useState } from "./view.js";

const FORMATS = [["csv", "CSV"], ["ndjson", "NDJSON"], ["parquet", "Parquet"]];

export function Export({ view, filters, words }) {
  const menu = useRef(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const outside = (event) => menu.current?.contains(event.target) || menu.current?.removeAttribute("open");
    const escape = (event) => event.key === "Escape" && menu.current?.removeAttribute("open");
    addEventListener("click", outside);
    addEventListener("keydown", escape);
    return () => {
      removeEventListener("click", outside);
      removeEventListener("keydown", escape);
    };
  }, []);
  const names = Object.keys(filters);
  const path = `${view.path}/export`;
  // a link cannot send a key: then the file is fetched here, and handed to the browser when it is whole
  const fetched = (format) => async (event) => {
    event.preventDefault();
    setProblem("");
    try {
      const answer = await ask(path, { ...filters, format }, { deadline: 0 });
      save(await answer.blob(), `${view.name}.${format}`);
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`<details class="menu" ref=${menu}><summary>Export</summary><div>
    <p class="faint">${names.length ? `All ${spoken(view.name)} that pass the ${names.length === 1 ? "filter" : `${names.length} filters`}.` : `All ${spoken(view.name)}.`}
      ${words && " An export goes by filters alone: the words do not narrow it."}</p>
    ${FORMATS.map(([format, name]) => html`<a key=${format} class="button" href=${address(path, { ...filters, format }).href} download=${`${view.name}.${format}`}
      onClick=${hasKey() ? fetched(format) : undefined}>${name}</a>`)}
    ${problem && html`<p role="alert">${problem}</p>`}
  </div></details>`;
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
