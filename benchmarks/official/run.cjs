// One pass of events through Segment's own Postscript destination, as far as the action's payload.
// Prints one JSON line of counts and seconds; with --out, writes what became of each event instead of timing it.

"use strict";

const { createReadStream, createWriteStream, readFileSync } = require("node:fs");
const { once } = require("node:events");
const { createRequire } = require("node:module");
const { join, resolve } = require("node:path");
const { parseArgs } = require("node:util");

const ACTION = "syncAudiences";
const BLOCK = 1 << 20;

/** The published destination, with an action that hands its payload back and sends no request. */
function loadDestination(packages) {
  const load = createRequire(join(resolve(packages), "package.json"));
  const { Destination } = load("@segment/actions-core");
  const { default: definition } = load("./postscript/index.js");
  const action = { ...definition.actions[ACTION], perform: (request, { payload }) => payload };
  const destination = new Destination({ ...definition, actions: { [ACTION]: action } });
  // No call is made, so the official side need not pay for a request client per event either.
  destination.actions[ACTION].performRequest = (perform, data) => perform(undefined, data);
  return destination;
}

/** The destination's settings: each mapping of a destination file, or one with all defaults. */
function settingsOf({ definition }, file) {
  const { defaultSubscription, fields } = definition.actions[ACTION];
  const defaults = Object.fromEntries(Object.entries(fields).map(([key, field]) => [key, field.default]));
  const { mappings } = file ? JSON.parse(readFileSync(file, "utf8")) : { mappings: [{}] };
  const subscriptions = mappings.map(({ trigger, fields: own }) => ({
    partnerAction: ACTION,
    subscribe: trigger ?? defaultSubscription,
    mapping: { ...defaults, ...own },
  }));
  return { secret_key: "sk_none", subscriptions };
}

/** Whether Segment hands the event over at all; decided before any of the destination's code, by `integrations`. */
function isRouted({ integrations = null }) {
  if (integrations === null || (Array.isArray(integrations) && !integrations.length)) return true;
  if (!isObject(integrations)) return false;
  if ("Postscript" in integrations) return integrations.Postscript === true || isObject(integrations.Postscript);
  return integrations.All !== false;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** The file's lines, a list for each megabyte or so. */
async function* lineBlocks(path, { start, end }) {
  let rest = "";
  const chunks = createReadStream(path, { encoding: "utf8", start, end, highWaterMark: BLOCK });
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    yield lines;
  }
  yield [rest];
}

function parsed(line) {
  try {
    return { event: JSON.parse(line) };
  } catch (error) {
    return { error };
  }
}

/** What became of one event: its payloads, why it was left alone, or what was wrong with it. */
async function outcomeOf({ event, error }, { destination, settings, routed }) {
  if (error) return { unreadable: error };
  if (routed && isObject(event) && !isRouted(event)) return { discard: "not routed" };
  try {
    const results = await destination.onEvent(event, settings);
    const payloads = results.filter((result) => "data" in result).map((result) => result.data);
    return payloads.length ? { payloads } : { discard: results[0].output };
  } catch (refusal) {
    return { error: refusal };
  }
}

class Counts {
  events = 0;
  payloads = 0;
  errors = 0;
  not_subscribed = 0;
  not_routed = 0;
  unreadable = 0;

  add({ payloads, error, discard, unreadable }) {
    this.events += 1;
    if (payloads) this.payloads += payloads.length;
    else if (error) this.errors += 1;
    else if (unreadable) this.unreadable += 1;
    else if (discard === "not routed") this.not_routed += 1;
    else this.not_subscribed += 1;
  }
}

/** The fields an error complains about; none for an error that is not about fields. */
function refusedFields({ errors }) {
  if (!errors) return undefined;
  const named = errors.map(({ pointer, message }) => pointer?.slice(1) || message.match(/required field '(.+)'/)?.[1]);
  return named.filter(Boolean);
}

/** An outcome in the words of the conformance vectors. */
function expectation({ payloads, error, discard, unreadable }, several) {
  if (payloads) return several ? { payloads } : { payload: payloads[0] };
  if (discard) return { discard: discard.startsWith("Invalid subscription") ? "invalid subscription" : discard };
  const { name, message } = error ?? unreadable;
  return { error: { name, message, fields: error && refusedFields(error) } };
}

const seconds = (from, to) => Number(to - from) / 1e9;
const clock = process.hrtime.bigint;

/** Runs the events, `batch` at a time, and returns the counts and the time. */
async function pass(path, { limit, batch, range, ...rules }) {
  const counts = new Counts();
  const started = clock();
  let parsing = 0;
  for await (const lines of lineBlocks(path, range)) {
    const before = clock();
    const room = limit - counts.events;
    const events = lines.filter((line) => line.trim()).slice(0, room).map(parsed);
    parsing += seconds(before, clock());
    if (batch === 1) {
      for (const event of events) counts.add(await outcomeOf(event, rules));
    } else {
      for (let at = 0; at < events.length; at += batch) {
        const found = await Promise.all(events.slice(at, at + batch).map((event) => outcomeOf(event, rules)));
        for (const outcome of found) counts.add(outcome);
      }
    }
    if (counts.events >= limit) break;
  }
  return { ...counts, seconds: seconds(started, clock()), parse_seconds: parsing };
}

/** Writes each event's outcome, and returns the counts. */
async function record(path, out, { limit, range, ...rules }) {
  const counts = new Counts();
  const file = createWriteStream(out);
  for await (const lines of lineBlocks(path, range)) {
    for (const line of lines) {
      if (!line.trim() || counts.events >= limit) continue;
      const outcome = await outcomeOf(parsed(line), rules);
      counts.add(outcome);
      const text = JSON.stringify(expectation(outcome, rules.settings.subscriptions.length > 1));
      if (!file.write(`${text}\n`)) await once(file, "drain");
    }
  }
  file.end();
  await once(file, "finish");
  return { ...counts };
}

async function main() {
  const { values } = parseArgs({
    options: {
      packages: { type: "string" }, // the folder with node_modules and postscript
      events: { type: "string" }, // NDJSON
      mapping: { type: "string" }, // a destination file in JSON; absent, the defaults
      routed: { type: "boolean", default: false }, // leave out what `integrations` keeps from Postscript
      limit: { type: "string", default: "Infinity" },
      batch: { type: "string", default: "1" }, // events awaited at once
      warmup: { type: "string", default: "20000" }, // events run before the clock starts
      start: { type: "string", default: "0" }, // first and last byte to read
      end: { type: "string", default: "Infinity" },
      out: { type: "string" },
    },
  });
  const destination = loadDestination(values.packages);
  const settings = settingsOf(destination, values.mapping);
  const limit = Number(values.limit);
  const range = { start: Number(values.start), end: Number(values.end) };
  const rules = { destination, settings, routed: values.routed, range };
  if (values.out) {
    console.log(JSON.stringify(await record(values.events, values.out, { ...rules, limit })));
    return;
  }
  const batch = Number(values.batch);
  await pass(values.events, { ...rules, batch, limit: Math.min(limit, Number(values.warmup)) });
  const result = await pass(values.events, { ...rules, batch, limit });
  const rate = (time) => Math.round(result.events / time);
  console.log(
    JSON.stringify({
      ...result,
      events_per_second: rate(result.seconds),
      events_per_second_without_parse: rate(result.seconds - result.parse_seconds),
    }),
  );
}

main();
