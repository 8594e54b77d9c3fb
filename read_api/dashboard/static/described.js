// Which views there are, by the API's own description: another one is shown here as soon as it is declared.
import { get } from "./api.js";
import { title } from "./format.js";
import { useEffect, useState } from "./view.js";

const AGAIN = 3_000; // milliseconds after which it is asked again where it did not come
let asked = null;

/** The views: {data: [{name, path, title, columns, key, searched, facets}], error, loading}; asked once a tab. */
export function useViews() {
  const [found, setFound] = useState({ data: null, error: null, loading: true });
  useEffect(() => {
    let timer = 0;
    const look = () => {
      asked ??= get("openapi.json").then(({ body }) => viewsOf(body));
      asked.then((data) => setFound({ data, error: null, loading: false }), (error) => {
        asked = null;
        setFound({ data: null, error, loading: false });
        timer = setTimeout(look, AGAIN);
      });
    };
    look();
    return () => clearTimeout(timer);
  }, []);
  return found;
}

function viewsOf({ paths, components }) {
  const resolve = (part) => (part?.$ref ? part.$ref.slice(2).split("/").reduce((at, name) => at[name], { components }) : part);
  return Object.keys(paths).flatMap((path) => {
    const name = /^\/v1\/([^/]+)$/.exec(path)?.[1];
    if (!name || !paths[`${path}/changes`]) return []; // v1/status is no view
    const rows = resolve(paths[path].get.responses["200"].content["application/json"].schema).properties.data;
    const one = Object.keys(paths).find((other) => other.startsWith(path) && /^(\/\{\w+\})+$/.test(other.slice(path.length)));
    const search = paths[`${path}/search`]?.get;
    const facets = resolve(search?.parameters.map(resolve).find((p) => p.name === "facets")?.schema)?.items;
    return [{
      name, path: `v1/${name}`, title: title(name.replaceAll("-", " ")), searched: Boolean(search), facets: resolve(facets)?.enum ?? [],
      columns: Object.keys(resolve(rows.items).properties), key: [...one.matchAll(/\{(\w+)\}/g)].map(([, column]) => column),
    }];
  });
}
