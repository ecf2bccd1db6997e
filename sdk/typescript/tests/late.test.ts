/** Shadow runs, scores from another process, and the metrics of several workers as one. */

import assert from "node:assert/strict";
import cluster from "node:cluster";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, describe, test } from "node:test";

import { AggregatorRegistry, Registry } from "prom-client";

import { type Assignment, Judge } from "../src/index.js";
import { Bench, Log, NAME, NEW, OLD, payload, until, valueIn } from "./kit.js";

const ARM = { revision: NEW.short, arm: "shadow", step: "2" };

async function shadowing(rules: object = {}): Promise<Bench> {
  const bench = await Bench.open();
  const arms = [{ name: "stable", revision: OLD.short, weight: 10_000 }];
  const shadow = { revision: NEW.short, sample: 10_000, maxConcurrent: 2, usdPerHour: "1.00", ...rules };
  await bench.deliver(payload({ sequence: 2, arms, shadow }));
  return bench;
}

async function done(bench: Bench, result: string, count = 1): Promise<void> {
  await until(async () => (await bench.value("shadow_runs_total", { result })) === count, `${count} runs ${result}`);
}

describe("shadow runs", () => {
  test("the candidate runs beside, and scores are compared in pairs", async () => {
    using bench = await shadowing();
    const labels = { revision: NEW.short, score: "helpfulness" };
    assert.equal(await bench.value("shadow_difference_count", labels), 0);
    const a = bench.rollout.assign({ unit: "u" });
    const seen: unknown[] = [];
    const started = a.shadow(async (candidate: Assignment, { shadow }) => {
      seen.push([candidate.revision, candidate.renderText({ shop: "S" }), shadow]);
      await candidate.request((r) => r.cost({ usd: 0.01 }));
      candidate.score("helpfulness", 0.5);
    });
    assert.ok(started);
    assert.deepEqual(seen, [], "after the answer, not before");
    await done(bench, "done");
    a.score("helpfulness", 0.75);
    assert.deepEqual(seen, [[NEW.short, "New S", true]]);
    assert.equal(await bench.value("shadow_difference_sum", labels), -0.25);
    assert.equal(await bench.value("shadow_difference_sumsq", labels), 0.0625);
    assert.equal(await bench.value("shadow_loss_total", labels), 0.25);
    assert.equal(await bench.value("requests_total", { ...ARM, outcome: "ok" }), 1);
  });

  test("nothing runs unless the payload asks for it and samples the request", async () => {
    using plain = await Bench.open();
    using unsampled = await shadowing({ sample: 0 });
    for (const bench of [plain, unsampled]) assert.ok(!bench.rollout.assign().shadow(() => assert.fail("ran")));
  });

  test("what exceeds the budget is dropped, not queued", async () => {
    using bench = await shadowing({ maxConcurrent: 1, usdPerHour: "0.02" });
    let end: () => void = () => undefined;
    const spends = async (candidate: Assignment): Promise<void> => {
      await candidate.request((r) => r.cost({ usd: 0.03 }));
      await new Promise<void>((resolve) => (end = resolve));
    };
    assert.ok(bench.rollout.assign().shadow(spends));
    assert.ok(!bench.rollout.assign().shadow(() => assert.fail("ran")));
    await until(async () => (await bench.value("requests_total", { ...ARM, outcome: "ok" })) === 1, "the run's request");
    end();
    await done(bench, "done");
    assert.ok(!bench.rollout.assign().shadow(() => assert.fail("ran")));
    const dropped = ["busy", "over_budget"].map((result) => bench.value("shadow_runs_total", { result }));
    assert.deepEqual((await Promise.all(dropped)).reduce((a, b) => (a ?? 0) + (b ?? 0), 0), 2);
  });

  test("a run that fails harms nobody", async () => {
    using bench = await shadowing();
    assert.ok(bench.rollout.assign().shadow(() => Promise.reject(new Error("x"))));
    await done(bench, "failed");
    assert.equal(await bench.value("sdk_problems_total", { reason: "shadow" }), 1);
  });
});

test("a judge needs only tokens, and pushes what it counted", async () => {
  const pushed: string[] = [];
  let answer = 200;
  const gateway = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += String(chunk)));
    request.on("end", () => {
      pushed.push(`${request.method} ${request.url}\n${body}`);
      response.writeHead(answer).end();
    });
  });
  await new Promise<void>((resolve) => gateway.listen(0, "127.0.0.1", resolve));
  after(() => gateway.close());
  using bench = await Bench.open();
  const log = new Log();
  const judge = new Judge({ logger: log });
  const { token } = bench.rollout.assign({ unit: bench.unitOf("stable") });
  assert.ok(judge.score(token, "helpfulness", 0.25));
  const url = `http://127.0.0.1:${(gateway.address() as AddressInfo).port}`;
  await judge.push(url, { job: "judge", grouping: { run: "7" } });
  const text = pushed[0] ?? "";
  assert.match(text, /^PUT \/metrics\/job\/judge\/run\/7\n/);
  const labels = `rollout="${NAME}",revision="${OLD.short}",arm="stable",step="1",score="helpfulness"`;
  assert.ok(text.includes(`promptrollout_score_sum{${labels}} 0.25`), text);
  assert.ok(text.includes("promptrollout_cluster_score_count{") && !text.includes("promptrollout_requests_total{"));
  answer = 500;
  await assert.rejects(judge.push(url, { job: "judge" }));
  for (const [what, value] of [["nonsense", 0.5], [token, 2], ["nonsense", 0.5], [token, 2]] as const) {
    assert.ok(!judge.score(what, "helpfulness", value));
  }
  assert.equal(log.warnings.length, 2); // each said once
});

test("the workers of a cluster add up", async () => {
  assert.ok(cluster.isPrimary);
  const workers = await Promise.all([Bench.open(), Bench.open()]);
  after(() => workers.forEach((bench) => bench.close()));
  for (const bench of workers) {
    await bench.rollout.assign({ unit: bench.unitOf("stable") }).request(() => undefined);
    bench.rollout.assign({ unit: bench.unitOf("stable") }).score("helpfulness", 0.5);
  }
  // What prom-client's AggregatorRegistry does with the answers of workers.
  const answers = await Promise.all(workers.map((bench) => bench.registry.getMetricsAsJSON()));
  const merged = AggregatorRegistry.aggregate(answers) as Registry;
  const stable = { rollout: NAME, revision: OLD.short, arm: "stable", step: "1" };
  assert.equal(await valueIn(merged, "requests_total", { ...stable, outcome: "ok" }), 2);
  assert.equal(await valueIn(merged, "score_sum", { ...stable, score: "helpfulness" }), 1);
  assert.equal(await valueIn(merged, "request_duration_seconds_count", stable), 2);
  assert.match(await merged.metrics(), /promptrollout_loaded\{[^}]*sequence="1"[^}]*\} 2\n/);
});

test("both text formats are right", async () => {
  for (const type of [Registry.PROMETHEUS_CONTENT_TYPE, Registry.OPENMETRICS_CONTENT_TYPE] as const) {
    const registry = new Registry();
    registry.setContentType(type as never);
    using bench = await Bench.open(payload(), { registry });
    await bench.rollout.assign({ unit: bench.unitOf("stable") }).request(() => undefined);
    const text = await registry.metrics();
    assert.match(text, /^promptrollout_requests_total\{rollout="shop\/support-answer",.*outcome="ok"\} 1$/m);
    assert.match(text, /^# TYPE promptrollout_score summary$/m);
    assert.match(text, /^promptrollout_request_duration_seconds_bucket\{.*le="\+Inf"\} 1$/m);
  }
});
