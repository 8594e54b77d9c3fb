// What can be searched, by the API's own description: another view is searched here as soon as it is declared.
import { get } from "./api.js";
import { title } from "./format.js";
import { useEffect, useState } from "./view.js";

const AGAIN = 3_000; // milliseconds after which it is asked again where it did not come
let asked = null;

/** The searchable views: {data: [{name, path, title, facets, columns, key}], error, loading}; asked once a tab. */
export function useSearchable() {
  const [found, setFound] = useState({ data: null, error: null, loading: true });
  useEffect(() => {
    let timer = 0;
    const look = () => {
      asked ??= get("openapi.json").then(({ body }) => searchable(body));
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

function searchable(described) {
  const resolve = (part) => (part?.$ref ? part.$ref.slice(2).split("/").reduce((at, name) => at[name], described) : part);
  return Object.entries(described.paths).flatMap(([path, item]) => {
    const name = /^\/v1\/([^/]+)\/search$/.exec(path)?.[1];
    if (!name) return [];
    const parameters = (item.get.parameters ?? []).map(resolve);
    const facets = resolve(parameters.find((p) => p.name === "facets")?.schema)?.items;
    const hit = resolve(resolve(item.get.responses["200"].content["application/json"].schema).properties.data.items);
    const row = resolve(hit.properties.row);
    const one = Object.keys(described.paths).find((other) => new RegExp(`^/v1/${name}/\\{[^/]+\\}$`).test(other));
    return [{
      name, path: `v1/${name}`, title: title(name.replaceAll("-", " ")), facets: resolve(facets)?.enum ?? [],
      columns: Object.keys(row.properties), key: /\{(\w+)\}$/.exec(one ?? "")?.[1] ?? Object.keys(row.properties)[0],
    }];
  });
}
