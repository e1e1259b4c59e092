// Delivers events through Segment's own Postscript destination, requests included, to a stand-in of Postscript.
// The action, its mapping and its request client are the published ones; only the address is another, and every
// request waits for its turn. Prints one JSON line of counts and seconds.

"use strict";

const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");
const { join, resolve } = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const { parseArgs } = require("node:util");

const ACTION = "syncAudiences";
// What Segment tries again, the whole event each time.
const RETRIED = new Set([408, 423, 429, 500, 502, 503, 504]);
const MAX_TRIES = 8;

/** Hands out turns, evenly spaced; after a stall nothing is made up for. */
class Pacer {
  requests = 0;
  first = null;
  #interval;
  #queue = Promise.resolve();

  constructor(perSecond) {
    this.#interval = 1000 / perSecond;
  }

  turn() {
    const mine = this.#queue;
    this.#queue = mine.then(() => sleep(this.#interval));
    return mine.then(() => {
      this.first ??= performance.now();
      this.requests += 1;
    });
  }
}

/** The published destination, asking at another address and no faster than the pacer lets it. */
function loadDestination(packages, { base, pacer }) {
  const load = createRequire(join(resolve(packages), "package.json"));
  const { Destination } = load("@segment/actions-core");
  load("./postscript/const.js").PS_BASE_URL = base;
  const { default: definition } = load("./postscript/index.js");
  const extendRequest = (data) => ({ ...definition.extendRequest(data), beforeRequest: [() => pacer.turn()] });
  return new Destination({ ...definition, extendRequest });
}

/** One subscription with all the defaults, as Segment makes it. */
function settingsOf({ definition }, key) {
  const { defaultSubscription, fields } = definition.actions[ACTION];
  const mapping = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.default]));
  return { secret_key: key, subscriptions: [{ partnerAction: ACTION, subscribe: defaultSubscription, mapping }] };
}

/** Delivers one event, again and again while that may help; returns what became of it. */
async function deliver(event, { destination, settings, counts }) {
  for (let tries = 1; ; tries += 1) {
    try {
      await destination.onEvent(event, settings);
      return "delivered";
    } catch (error) {
      const status = error.response?.status ?? error.status;
      if (error.name === "PayloadValidationError" || error.name === "AggregateAjvError") return "rejected";
      if (!RETRIED.has(status) || tries === MAX_TRIES) return "failed";
      counts.retries += 1;
      await sleep(Math.min(30, 0.5 * 2 ** tries) * 1000);
    }
  }
}

async function main() {
  const { values } = parseArgs({
    options: {
      packages: { type: "string" }, // the folder with node_modules and postscript
      events: { type: "string" }, // NDJSON
      base: { type: "string" }, // http://127.0.0.1:…
      key: { type: "string" },
      rate: { type: "string", default: "14" }, // requests a second
      flight: { type: "string", default: "16" }, // events under way at once
    },
  });
  if (new URL(values.base).hostname !== "127.0.0.1") throw new Error("only for a stand-in on this machine");
  const pacer = new Pacer(Number(values.rate));
  const destination = loadDestination(values.packages, { base: values.base, pacer });
  const settings = settingsOf(destination, values.key);
  const counts = { delivered: 0, rejected: 0, failed: 0, retries: 0 };
  const waiting = readFileSync(values.events, "utf8").split("\n").filter(Boolean).values();
  const last = new Map(); // of each person, because two changes of one list at a time would lose one of them
  // Each worker takes the next event when its own is done: started in the order of the file.
  const work = async () => {
    for (const line of waiting) {
      const event = JSON.parse(line);
      const outcome = Promise.resolve(last.get(event.userId)).then(() => deliver(event, { destination, settings, counts }));
      last.set(event.userId, outcome);
      counts[await outcome] += 1;
    }
  };
  await Promise.all(Array.from({ length: Number(values.flight) }, work));
  const seconds = pacer.first === null ? 0 : (performance.now() - pacer.first) / 1000;
  console.log(JSON.stringify({ node: process.version, ...counts, requests: pacer.requests, seconds }));
}

main();
