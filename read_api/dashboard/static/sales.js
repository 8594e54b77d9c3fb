// Rows of sales-by-day as the API has them, and their sums: what a chart shows is what it said, added up.
import { pages } from "./api.js";
import { cents, fromCents } from "./format.js";

const MOST_PAGES = 60;
const PATH = "v1/sales-by-day";
const keyOf = (row) => JSON.stringify([row.day, row.customer_country, row.currency]);

/** The rows of the newest `wanted` days that have any, newest first. Returns {rows, whole}: whether none is missing. */
export async function loadSales(wanted, options) {
  const enough = (rows) => new Set(rows.map((row) => row.day)).size > wanted;
  const found = await pages(PATH, { sort: "-day" }, { ...options, most: MOST_PAGES, enough });
  const days = daysOf(found.rows);
  const complete = found.whole ? days : days.slice(1); // the oldest day may go on behind the last page
  const kept = new Set(complete.slice(-wanted));
  return { rows: found.rows.filter((row) => kept.has(row.day)), whole: found.whole || complete.length >= wanted };
}

/** The rows of some days, anew. */
export async function loadDays(days, options) {
  return (await pages(PATH, { day: days.join(",") }, { ...options, most: MOST_PAGES })).rows;
}

/** Rows with some days replaced, cut to the newest `wanted` days. */
export function withDays(rows, days, anew, wanted) {
  const replaced = new Set(days);
  const all = [...new Map([...rows.filter((r) => !replaced.has(r.day)), ...anew].map((r) => [keyOf(r), r])).values()];
  const kept = new Set(daysOf(all).slice(-wanted));
  return all.filter((row) => kept.has(row.day));
}

/** The days that rows speak of, oldest first. */
export const daysOf = (rows) => [...new Set(rows.map((row) => row.day))].sort();

/** {orders, cancelled, units, gross, refunded} of rows; money in one currency only. */
export function sumOf(rows, currency) {
  const sum = { orders: 0, cancelled: 0, units: 0, gross: 0n, refunded: 0n };
  for (const row of rows) {
    sum.orders += row.orders;
    sum.cancelled += row.cancelled_orders;
    sum.units += row.units;
    if (row.currency === currency) {
      sum.gross += cents(row.gross);
      sum.refunded += cents(row.refunded);
    }
  }
  return { ...sum, gross: fromCents(sum.gross), refunded: fromCents(sum.refunded) };
}

/** Groups of rows with their sums: [[value, sum]], by what `of` says of a row. */
export function sumsBy(rows, of, currency) {
  const groups = Map.groupBy(rows, of);
  return [...groups].map(([value, group]) => [value, sumOf(group, currency)]);
}

/** The currencies of rows, that of most orders first. */
export function currenciesOf(rows) {
  return sumsBy(rows, (row) => row.currency, null).sort(([, a], [, b]) => b.orders - a.orders).map(([currency]) => currency);
}
