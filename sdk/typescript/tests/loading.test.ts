/** Payloads come, change, break and recover; what was good goes on serving. */

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { after, describe, test } from "node:test";

import { Registry } from "prom-client";

import { PayloadError, PromptRollout } from "../src/index.js";
import type { Read } from "../src/payload.js";
import { DirectorySource, MAX_FILE_BYTES } from "../src/source.js";
import { Bench, type Files, Log, Mount, NAME, NEW, OLD, payload, seal, until, valueIn } from "./kit.js";

const GOOD = payload({ sequence: 2 });
const TEXT = String(GOOD["rollout.json"]);

describe("a broken payload keeps the last good one, says so once, and recovers by itself", () => {
  const broken: [name: string, files: Files, reason: string][] = [
    ["truncated JSON", { ...GOOD, "rollout.json": TEXT.slice(0, 40) }, "not_json"],
    ["wrong hash", { ...GOOD, "rollout.json": TEXT.replace('"sequence":2', '"sequence":3') }, "hash"],
    ["unknown schema", payload({ sequence: 2, schema: 2 }), "schema"],
    ["weights not summing", payload({ sequence: 2, arms: [{ name: "stable", revision: OLD.short, weight: 9999 }] }), "weights"],
    ["missing revision file", { "rollout.json": TEXT }, "revision_missing"],
    ["10 MB file", { ...GOOD, "rollout.json": "x".repeat(10 * MAX_FILE_BYTES) }, "too_large"],
    ["10 MB revision", { ...GOOD, [`${OLD.short}.json`]: "x".repeat(10 * MAX_FILE_BYTES) }, "too_large"],
    ["binary", { ...GOOD, "rollout.json": Buffer.from([0xff, 0xfe, 0]) }, "not_json"],
    ["deep", { ...GOOD, "rollout.json": "[".repeat(200_000) }, "not_json"],
    ["empty", {}, "missing"],
  ];
  for (const [name, files, reason] of broken) {
    test(name, async () => {
      using bench = await Bench.open();
      bench.mount.write(files);
      for (const now of [1, 50, 9000, 20_000]) await bench.rollout.poll(now);
      assert.equal(bench.rollout.sequence, 1);
      assert.equal(bench.rollout.assign({ unit: "u" }).render({ shop: "S" }).length, 1);
      assert.equal(await bench.value("payload_errors_total", { reason }), 1);
      assert.equal(bench.log.warnings.length, 1, bench.log.warnings.join("\n"));
      bench.mount.write(payload({ sequence: 3 }));
      await bench.rollout.poll(21_000);
      assert.equal(bench.rollout.sequence, 3);
    });
  }

  test("a directory that disappears and comes back", async () => {
    using bench = await Bench.open();
    renameSync(bench.mount.path, `${bench.mount.path}-away`);
    for (const now of [1, 50, 2000]) await bench.rollout.poll(now);
    assert.equal(bench.rollout.sequence, 1);
    assert.equal(await bench.value("payload_errors_total", { reason: "missing" }), 1);
    assert.equal(bench.log.warnings.length, 1);
    renameSync(`${bench.mount.path}-away`, bench.mount.path);
    bench.mount.write(payload({ sequence: 2 }));
    await bench.rollout.poll(4000);
    assert.equal(bench.rollout.sequence, 2);
  });

  test("something unreadable in the file's place", async () => {
    using bench = await Bench.open();
    const away = mkdtempSync(join(tmpdir(), "promptrollout-"));
    mkdirSync(join(away, "rollout.json"));
    const plain = await PromptRollout.fromDirectory(away, { default: "Hi", registry: bench.registry, watch: false, logger: bench.log });
    const labels = { rollout: plain.name, reason: "unreadable" };
    assert.equal(await valueIn(bench.registry, "payload_errors_total", labels), 1);
    assert.equal(plain.assign().renderText(), "Hi");
    rmSync(away, { recursive: true });
  });

  test("a permission that is taken away and given back", { skip: process.platform === "win32" }, async () => {
    using bench = await Bench.open();
    bench.mount.write(payload({ sequence: 2 }));
    const file = join(bench.mount.path, "..data", "rollout.json");
    chmodSync(bench.mount.path, 0o755);
    chmodSync(file, 0);
    // Root may read everything: be nobody meanwhile. The effective id counts, and the pool's threads share it.
    const root = process.geteuid?.() === 0;
    if (root) process.seteuid?.(65534);
    await bench.rollout.poll(1).finally(() => root && process.seteuid?.(0));
    assert.equal(bench.rollout.sequence, 1);
    assert.equal(await bench.value("payload_errors_total", { reason: "unreadable" }), 1);
    assert.equal(bench.log.warnings.length, 1);
    chmodSync(file, 0o644);
    await bench.rollout.poll(9000);
    assert.equal(bench.rollout.sequence, 2);
  });
});

test("a swap of the mount is served whole and acknowledged", async () => {
  using bench = await Bench.open();
  assert.ok(await bench.deliver(payload({ sequence: 2, weight: 10_000 })));
  assert.deepEqual(bench.rollout.assign({ unit: "anyone" }).render({ shop: "S" }), [{ role: "system", content: "New S" }]);
  const text = await bench.registry.getSingleMetricAsString("promptrollout_loaded");
  assert.match(text, /promptrollout_loaded\{rollout="shop\/support-answer",sequence="2",hash="[0-9a-f]{64}"\} 1$/);
  assert.ok(!text.includes('sequence="1"'));
});

test("an unchanged mount is not loaded again", async () => {
  using bench = await Bench.open();
  assert.equal(await bench.rollout.refresh(), false);
});

test("the background look sees the swap by itself", async () => {
  const bench = await Bench.open(payload(), { watch: true });
  after(() => bench.close());
  bench.mount.write(payload({ sequence: 2 }));
  await until(() => bench.rollout.sequence === 2, "the swap to be seen");
});

test("without any payload the default answers, and without a default the start says why", async () => {
  const registry = new Registry();
  const rollout = await PromptRollout.fromDirectory("/nonexistent/answers", { default: "Hi {{name}}", registry, logger: new Log() });
  const a = rollout.assign({ unit: "u" });
  assert.deepEqual([a.revision, a.arm, a.renderText({ name: "Ann" })], ["default", "default", "Hi Ann"]);
  await a.request(() => undefined);
  const labels = { rollout: "answers", revision: "default", arm: "default", step: "0", outcome: "ok" };
  assert.equal(await valueIn(registry, "requests_total", labels), 1);
  rollout.close();
  await assert.rejects(PromptRollout.fromDirectory("/nonexistent/answers", { registry: new Registry() }), PayloadError);
});

test("the default's metrics stay however long nobody asks, and its scores count also once there is a payload", async () => {
  const mount = new Mount();
  const registry = new Registry();
  const rollout = await PromptRollout.fromDirectory(mount.path, { default: "Hi", registry, watch: false, logger: new Log() });
  for (const now of [100_000, 4_000_000, 8_000_000]) await rollout.poll(now);
  const a = rollout.assign({ unit: "u" });
  await a.request(() => undefined);
  const labels = { rollout: rollout.name, revision: "default", arm: "default", step: "0" };
  assert.equal(await valueIn(registry, "requests_total", { ...labels, outcome: "ok" }), 1);
  mount.write(payload());
  await rollout.refresh();
  rollout.score(a.token, "helpfulness", 0.5);
  assert.equal(await valueIn(registry, "score_count", { ...labels, score: "helpfulness" }), 1);
  mount.remove();
});

test("a relative path holds when the process changes its directory", async () => {
  using bench = await Bench.open();
  const before = process.cwd();
  process.chdir(bench.mount.path);
  const options = { registry: new Registry(), logger: new Log(), watch: false };
  const rollout = await PromptRollout.fromDirectory(".", options).finally(() => process.chdir(before));
  bench.mount.write(payload({ sequence: 2 }));
  await rollout.poll(1);
  assert.equal(rollout.sequence, 2);
});

/** A mount that kubelet swaps just when its files are read: so many times the version to be read is gone. */
class Swapping extends DirectorySource {
  constructor(private readonly mount: Mount, public left: number) {
    super(mount.path);
  }

  override async open(): Promise<Read> {
    const read = await super.open();
    if (this.left > 0) {
      this.left -= 1;
      const gone = realpathSync(join(this.mount.path, "..data"));
      this.mount.write(payload({ sequence: 2 + this.left }));
      rmSync(gone, { recursive: true });
    }
    return read;
  }
}

test("a mount that is swapped while it is first read is read again before anybody is answered", async () => {
  for (const given of [{}, { default: "the code's" }]) {
    const mount = new Mount();
    mount.write(payload());
    const logger = new Log();
    const options = { ...given, registry: new Registry(), logger, watch: false };
    const rollout = await PromptRollout.start(new Swapping(mount, 2), options);
    assert.equal(rollout.sequence, 2);
    assert.deepEqual(logger.warnings, []);
    mount.remove();
  }
});

test("a mount that is swapped without end is left to the next look", async () => {
  const mount = new Mount();
  mount.write(payload());
  const source = new Swapping(mount, 1000);
  const options = { default: "the code's", registry: new Registry(), logger: new Log(), watch: false };
  const rollout = await PromptRollout.start(source, options);
  assert.equal(rollout.sequence, undefined);
  source.left = 0;
  await rollout.poll(50);
  assert.ok(rollout.sequence);
  mount.remove();
});

test("a payload that the application cannot serve is not acknowledged", async () => {
  for (const contract of [{ parts: ["planner"] }, { variables: ["question"] }]) {
    using bench = await Bench.open(payload(), { contract, default: "x" });
    assert.equal(bench.rollout.sequence, undefined);
    const labels = { rollout: bench.rollout.name, reason: "contract" };
    assert.equal(await valueIn(bench.registry, "payload_errors_total", labels), 1);
  }
});

test("a plain directory is read too", async () => {
  const path = mkdtempSync(join(tmpdir(), "promptrollout-"));
  const put = (files: Files): void => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  };
  put(payload());
  const rollout = await PromptRollout.fromDirectory(path, { registry: new Registry(), watch: false });
  put(payload({ sequence: 2, salt: "other" }));
  await rollout.poll(1);
  assert.equal(rollout.sequence, 2);
  rmSync(path, { recursive: true });
});

test("everything is at zero when a payload is loaded", async () => {
  using bench = await Bench.open();
  const arm = { revision: NEW.short, arm: "candidate", step: "1" };
  for (const outcome of ["ok", "error", "aborted"]) assert.equal(await bench.value("requests_total", { ...arm, outcome }), 0);
  assert.equal(await bench.value("request_duration_seconds_count", arm), 0);
  assert.equal(await bench.value("score_count", { ...arm, score: "helpfulness" }), 0);
  assert.equal(await bench.value("score_nodes_total", { ...arm, score: "helpfulness", node: "20" }), 0);
  assert.equal(await bench.value("unit_exposure_total", { ...arm, metric: "errors" }), 0);
  assert.equal(await bench.value("cluster_events_total", { arm: "stable", cluster: "0", metric: "refusals" }), 0);
  assert.equal(await bench.value("cluster_score_sum", { arm: "stable", cluster: "7", score: "helpfulness" }), 0);
});

test("old steps leave the registry", async () => {
  using bench = await Bench.open();
  for (let sequence = 2; sequence < 60; sequence += 1) {
    bench.mount.write(payload({ sequence, weight: sequence }));
    await bench.rollout.poll(100_000 * sequence);
  }
  const text = await bench.registry.getSingleMetricAsString("promptrollout_requests_total");
  const steps = new Set([...text.matchAll(/step="(\d+)"/g)].map((found) => found[1]));
  assert.ok(steps.has("59") && !steps.has("1"));
  assert.ok(steps.size <= 11, String(steps.size));
});

test("while a payload of 500 KB is loaded, requests go on", async () => {
  const big = seal({ parts: { default: { text: "word {{shop}} ".repeat(36_000) } }, templateFormat: "mustache" });
  using bench = await Bench.open();
  const arms = [{ name: "stable", revision: big.short, weight: 10_000 }];
  bench.mount.write(payload({ sequence: 2, revisions: [big], arms }));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  let served = 0;
  const loading = bench.rollout.refresh();
  const began = performance.now();
  while (bench.rollout.sequence === 1 && performance.now() - began < 20_000) {
    await bench.rollout.assign({ unit: `u${served}` }).request(() => new Promise((resolve) => setImmediate(resolve)));
    served += 1;
  }
  await loading;
  delay.disable();
  assert.equal(bench.rollout.sequence, 2);
  assert.ok(served > 3, `only ${served} requests meanwhile`);
  assert.equal(await valueIn(bench.registry, "payload_errors_total", { rollout: NAME, reason: "invalid" }), undefined);
});
