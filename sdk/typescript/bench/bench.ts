/** Times of the request path, memory and reload, as one JSON line: run by benchmarks/sdk.py, which prepares the mounts. */

import { readdirSync, readFileSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";

import { Registry } from "prom-client";

import { PromptRollout } from "../src/index.js";

const BATCH = 50;
const BATCHES = 2001;
const folder = process.argv[2] ?? ".";
const options = { events: ["refusals", "retries"], scores: ["helpfulness"], watch: false };
const found: Record<string, number> = {};

const round = (value: number, digits = 2): number => Number(value.toFixed(digits));

async function timed(name: string, call: (i: number) => unknown, waits = false): Promise<void> {
  const batches: number[] = [];
  for (let batch = 0; batch < BATCHES; batch += 1) {
    const began = performance.now();
    for (let i = 0; i < BATCH; i += 1) {
      const answer = call(i);
      if (waits) await answer;
    }
    batches.push(((performance.now() - began) / BATCH) * 1000);
  }
  batches.sort((a, b) => a - b);
  found[`${name}_us`] = round(batches[BATCHES >> 1] ?? NaN);
  found[`${name}_best_us`] = round(batches[0] ?? NaN);
}

async function calls(): Promise<void> {
  const rollout = await PromptRollout.fromDirectory(join(folder, "small"), { ...options, registry: new Registry() });
  const units = Array.from({ length: BATCH }, (_, i) => `conversation-${i}`);
  const assigned = units.map((unit) => rollout.assign({ unit }));
  const pins = assigned.map((a) => a.pin);
  await timed("assign", (i) => rollout.assign({ unit: units[i] }));
  await timed("assign_pinned", (i) => rollout.assign({ unit: units[i], pin: pins[i] }));
  await timed("request", (i) => assigned[i]?.request(() => undefined), true);
  const full = (r: { firstToken(): void; tokens(n: object): void; cost(n: { usd: number }): void }): void => {
    r.firstToken();
    r.tokens({ input: 800, output: 90 });
    r.cost({ usd: 0.004 });
  };
  await timed("request_full", (i) => assigned[i]?.request(full), true);
  await timed("score", (i) => assigned[i]?.score("helpfulness", 0.7));
  await timed("render", (i) => assigned[i]?.render({ shop: "S" }));
}

async function memory(rollouts = 40): Promise<void> {
  // Each in a registry of its own: the rollouts here have one name.
  const kept = [await PromptRollout.fromDirectory(join(folder, "small"), { ...options, registry: new Registry() })];
  const used = (): number => {
    globalThis.gc?.();
    return process.memoryUsage().heapUsed;
  };
  const before = used();
  for (let i = 0; i < rollouts; i += 1) {
    kept.push(await PromptRollout.fromDirectory(join(folder, "small"), { ...options, registry: new Registry() }));
  }
  found["memory_kib"] = Math.round((used() - before) / rollouts / 1024);
  if (kept.length < rollouts) throw new Error("they must live until here");
}

async function reload(): Promise<void> {
  const path = join(folder, "big");
  const big = join(path, "..data");
  const versions = readdirSync(path).filter((name) => name.startsWith("..version_")).sort();
  const point = (to: string): void => {
    symlinkSync(to, join(path, "..data_tmp"));
    renameSync(join(path, "..data_tmp"), big);
  };
  point(versions[0] ?? "");
  const rollout = await PromptRollout.fromDirectory(path, { ...options, registry: new Registry() });
  point(versions.at(-1) ?? "");
  readFileSync(join(big, "rollout.json"));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await new Promise((resolve) => setTimeout(resolve, 50));
  delay.reset();
  const began = performance.now();
  const loading = rollout.refresh();
  let served = 0;
  while (rollout.sequence === 1) {
    await rollout.assign({ unit: `u${served}` }).request(() => new Promise((resolve) => setImmediate(resolve)));
    served += 1;
  }
  await loading;
  found["reload_500kb_ms"] = round(performance.now() - began, 1);
  found["reload_requests_meanwhile"] = served;
  await new Promise((resolve) => setTimeout(resolve, 20));
  delay.disable();
  found["reload_event_loop_max_ms"] = round(delay.max / 1e6, 1);
}

await calls();
await memory();
await reload();
console.log(JSON.stringify(found));
