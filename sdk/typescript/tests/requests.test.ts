/** What is counted, and that nothing throws. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { bucketOf } from "../src/hashing.js";
import type { Aborts, Outcome } from "../src/index.js";
import { parsePin } from "../src/pins.js";
import { Bench, NAME, NEW, OLD, payload, seal } from "./kit.js";

const STABLE = { revision: OLD.short, arm: "stable", step: "1" };
const CANDIDATE = { revision: NEW.short, arm: "candidate", step: "1" };

class ClientGone extends Error {}

const UNSPEAKABLE = { toString: (): string => { throw new Error("no text"); } };
const abort = (): DOMException => new DOMException("gone", "AbortError");

test("a unit keeps its arm, and the shares are the weights", async () => {
  using bench = await Bench.open();
  for (let i = 0; i < 20_000; i += 1) {
    const wanted = bucketOf("s", `user-${i}`) < 500 ? "candidate" : "stable";
    assert.equal(bench.rollout.assign({ unit: `user-${i}` }).arm, wanted);
  }
});

test("without a unit one is drawn, and the answer says so", async () => {
  using bench = await Bench.open();
  const [first, second] = [bench.rollout.assign(), bench.rollout.assign()];
  assert.ok(!first.unitGiven && first.unit !== second.unit && bench.rollout.assign({ unit: "u" }).unitGiven);
});

test("a strange unit is served, and a lone surrogate is the same unit in every language", async () => {
  using bench = await Bench.open();
  for (const unit of [7, 1.5, Symbol("x"), {}, Object.create(null), "\ud800", ""]) {
    await bench.rollout.assign({ unit: unit as string }).request(() => undefined);
  }
  assert.equal(bench.rollout.assign({ unit: "\ud800" }).unit, "\ufffd");
});

describe("how a request ends", () => {
  const endings: [name: string, thrown: unknown, aborts: unknown, outcome: Outcome][] = [
    ["well", undefined, [], "ok"],
    ["an error", new TypeError("x"), [], "error"],
    ["a timeout", new DOMException("late", "TimeoutError"), [], "error"],
    ["an abort", new DOMException("gone", "AbortError"), [], "aborted"],
    ["what the application calls an abort", new ClientGone(), [ClientGone], "aborted"],
    ["what it does not", new ClientGone(), [], "error"],
    ["something thrown that is no error", "oops", [], "error"],
    ["nothing but aborts together", new AggregateError([abort(), new ClientGone()]), [ClientGone], "aborted"],
    ["an abort and an error together", new AggregateError([abort(), new TypeError("x")]), [], "error"],
    ["aborts that are no classes", new TypeError("x"), ["gone"], "error"],
    ["aborts that cannot be asked", new TypeError("x"), () => { throw new Error("mine"); }, "error"],
    ["no aborts", new TypeError("x"), null, "error"],
  ];
  for (const [name, thrown, aborts, outcome] of endings) {
    test(name, async () => {
      using bench = await Bench.open();
      const a = bench.rollout.assign({ unit: bench.unitOf("stable") });
      const run = a.request(() => {
        if (thrown !== undefined) throw thrown;
        return 42;
      }, { aborts: aborts as Aborts });
      if (thrown === undefined) assert.equal(await run, 42);
      else await assert.rejects(run, (error) => error === thrown);
      assert.equal(await bench.value("requests_total", { ...STABLE, outcome }), 1);
      assert.equal(await bench.value("request_duration_seconds_count", STABLE), outcome === "aborted" ? 0 : 1);
      assert.equal(await bench.value("unit_events_total", { ...STABLE, metric: "errors" }), outcome === "error" ? 1 : 0);
    });
  }
});

test("the application may say what a request came to, and end one itself", async () => {
  using bench = await Bench.open();
  const a = bench.rollout.assign({ unit: bench.unitOf("stable") });
  await a.request((r) => r.outcome("error"));
  const open = a.open({ aborts: (error) => error === "gone" });
  open.fail("gone");
  open.end();
  const wrong = a.open();
  wrong.outcome("great" as Outcome);
  wrong.end();
  assert.equal(await bench.value("requests_total", { ...STABLE, outcome: "error" }), 2);
  assert.equal(await bench.value("requests_total", { ...STABLE, outcome: "aborted" }), 1);
  assert.equal(await bench.value("requests_total", { ...STABLE, outcome: "ok" }), 0);
  assert.equal(await bench.value("sdk_problems_total", { reason: "outcome" }), 1);
});

test("what is told after the end is reported", async () => {
  using bench = await Bench.open();
  const r = bench.rollout.assign({ unit: "u" }).open();
  r.end();
  r.tokens({ input: 1 });
  r.cost({ usd: 1 });
  r.event("refusals");
  r.outcome("error");
  assert.equal(await bench.value("sdk_problems_total", { reason: "ended" }), 4);
});

test("an amount that is none is reported and spoils no counter", async () => {
  const strange: unknown[] = [null, Infinity, -Infinity, Number.NaN, -1, "3", 3n, [], UNSPEAKABLE];
  using bench = await Bench.open();
  const a = bench.rollout.assign({ unit: bench.unitOf("stable") });
  await a.request((r) => {
    r.tokens({ input: 3 });
    r.cost({ usd: 0.5 });
    for (const amount of strange as number[]) {
      r.tokens({ input: amount });
      r.cost({ usd: amount });
    }
    r.tokens(undefined as never);
    r.cost(undefined as never);
  });
  assert.equal(await bench.value("tokens_total", { ...STABLE, direction: "input" }), 3);
  assert.equal(await bench.value("cost_usd_total", STABLE), 0.5);
  assert.equal(await bench.value("sdk_problems_total", { reason: "usage" }), 2 * strange.length + 1);
});

test("whatever an application hands over, nothing throws", async () => {
  const things: unknown[] = [null, 5, Symbol("x"), [], {}, 3n, UNSPEAKABLE, () => UNSPEAKABLE];
  using bench = await Bench.open();
  for (const thing of things as never[]) {
    assert.ok(bench.rollout.assign(thing));
    const a = bench.rollout.assign({ unit: thing, pin: thing });
    await a.request((r) => {
      r.event(thing);
      r.outcome(thing);
      assert.ok(a.render(thing));
      assert.ok(a.render({ shop: thing }, thing));
      assert.equal(typeof a.renderText({ shop: "S" }, { part: thing }), "string");
    }, thing);
    a.score(thing, thing);
    a.score("helpfulness", thing);
    bench.rollout.score(thing, "helpfulness", 0.5);
    assert.equal(a.shadow(thing), false);
  }
});

test("a tool loop with retries is one request", async () => {
  using bench = await Bench.open();
  const a = bench.rollout.assign({ unit: bench.unitOf("candidate") });
  await a.request(async (r) => {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      r.tokens({ input: 10, output: attempt });
      r.cost({ usd: 0.5 });
      r.firstToken();
      await Promise.reject(new Error("busy")).catch(() => undefined);
    }
  });
  assert.equal(await bench.value("requests_total", { ...CANDIDATE, outcome: "ok" }), 1);
  assert.equal(await bench.value("requests_total", { ...CANDIDATE, outcome: "error" }), 0);
  assert.equal(await bench.value("tokens_total", { ...CANDIDATE, direction: "input" }), 30);
  assert.equal(await bench.value("tokens_total", { ...CANDIDATE, direction: "output" }), 3);
  assert.equal(await bench.value("cost_usd_total", CANDIDATE), 1.5);
  assert.equal(await bench.value("time_to_first_token_seconds_count", CANDIDATE), 1);
});

async function* chunks(fails = false): AsyncGenerator<string> {
  yield "a";
  yield "b";
  if (fails) throw new Error("the model broke off");
}

test("a stream notes its first token; leaving it is no error, breaking off is one", async () => {
  using bench = await Bench.open();
  const a = bench.rollout.assign({ unit: bench.unitOf("stable") });
  const got: string[] = [];
  for await (const chunk of a.stream(() => chunks())) got.push(chunk);
  assert.deepEqual(got, ["a", "b"]);
  for await (const chunk of a.stream(() => chunks())) {
    assert.equal(chunk, "a");
    break;
  }
  await assert.rejects(async () => {
    for await (const _ of a.stream((r) => r.stream(chunks(true)))) continue;
  }, /broke off/);
  for (const outcome of ["ok", "aborted", "error"]) {
    assert.equal(await bench.value("requests_total", { ...STABLE, outcome }), 1, outcome);
  }
  assert.equal(await bench.value("time_to_first_token_seconds_count", STABLE), 3);
  for await (const _ of a.stream((r) => (r.outcome("error"), chunks()))) break; // the application knows better
  assert.equal(await bench.value("requests_total", { ...STABLE, outcome: "error" }), 2);
});

test("scores are counted with their nodes and cluster, late ones in the step of their answer", async () => {
  using bench = await Bench.open();
  const a = bench.rollout.assign({ unit: bench.unitOf("stable") });
  const token = a.token;
  a.score("helpfulness", 0.63);
  await bench.deliver(payload({ sequence: 2, weight: 2500 }));
  bench.rollout.score(token, "helpfulness", 1);
  const labels = { ...STABLE, score: "helpfulness" };
  assert.equal(await bench.value("score_count", labels), 2);
  assert.equal(await bench.value("score_sum", labels), 1.63);
  assert.ok(Math.abs(((await bench.value("score_sumsq", labels)) ?? 0) - 1 - 0.63 ** 2) < 1e-12);
  assert.ok(Math.abs(((await bench.value("score_nodes_total", { ...labels, node: "7" })) ?? 0) - 0.6) < 1e-9);
  assert.equal(await bench.value("score_nodes_total", { ...labels, node: "0" }), 1);
  const cluster = { arm: "stable", cluster: String(a.cluster), score: "helpfulness" };
  assert.equal(await bench.value("cluster_score_count", cluster), 2);
});

test("what is no score, token or pin is reported and not counted", async () => {
  using bench = await Bench.open();
  const a = bench.rollout.assign({ unit: bench.unitOf("stable") });
  for (const value of [1.01, -0.1, Number.NaN, "good" as unknown as number]) a.score("helpfulness", value);
  a.score("a b", 0.5);
  assert.equal(await bench.value("sdk_problems_total", { reason: "score" }), 5);
  assert.equal(await bench.value("score_count", { ...STABLE, score: "helpfulness" }), 0);
  const tokens = ["", "x", null as unknown as string, `1.${OLD.short}.1.stable.3.other/rollout`];
  for (const token of tokens) bench.rollout.score(token, "helpfulness", 0.5);
  assert.equal(await bench.value("sdk_problems_total", { reason: "token" }), 4);
  for (const pin of ["x", "9.zz", 5 as unknown as string]) assert.ok(!bench.rollout.assign({ unit: "u", pin }).pinned);
  assert.equal(await bench.value("sdk_problems_total", { reason: "pin" }), 3);
  assert.ok(!bench.rollout.assign({ unit: "u", pin: "" }).pinned);
});

test("forged tokens and pins cannot fill the registry", async () => {
  using bench = await Bench.open();
  for (let i = 0; i < 500; i += 1) {
    const forged = i.toString(16).padStart(10, "0");
    bench.rollout.score(`1.${forged}.${i}.arm${i}.3.${NAME}`, "helpfulness", 0.5);
    bench.rollout.score(`1.${OLD.short}.1.stable.3.${NAME}`, `score${i}`, 0.5);
    await bench.rollout.assign({ unit: "u", pin: `1.${OLD.short}.${i}.stable` }).request(() => undefined);
  }
  const all = await bench.registry.getMetricsAsJSON();
  assert.ok(all.reduce((sum, metric) => sum + metric.values.length, 0) < 60_000);
});

describe("pins", () => {
  test("keep the revision over a ramp and count in their own step", async () => {
    using bench = await Bench.open();
    let unit = "";
    for (let i = 0; !unit; i += 1) {
      const bucket = bucketOf("s", `u${i}`);
      if (bucket >= 500 && bucket < 2500) unit = `u${i}`;
    }
    const { pin } = bench.rollout.assign({ unit });
    await bench.deliver(payload({ sequence: 2, weight: 2500 }));
    assert.equal(bench.rollout.assign({ unit }).arm, "candidate");
    const kept = bench.rollout.assign({ unit, pin });
    assert.deepEqual([kept.arm, kept.pinned, kept.pin], ["stable", true, pin]);
    await kept.request(() => undefined);
    assert.equal(await bench.value("requests_total", { ...STABLE, outcome: "ok" }), 1);
  });

  const stable = [{ name: "stable", revision: OLD.short, weight: 10_000 }];
  const endings: [string, object, string][] = [
    ["migrate at a rollback", {}, OLD.short],
    ["drain until their time", { pinned: [{ revision: NEW.short, until: "2999-01-01T00:00:00Z" }] }, NEW.short],
    ["and no longer", { pinned: [{ revision: NEW.short, until: "2020-01-01T00:00:00Z" }] }, OLD.short],
  ];
  for (const [name, changes, revision] of endings) {
    test(name, async () => {
      using bench = await Bench.open();
      const unit = bench.unitOf("candidate");
      const { pin } = bench.rollout.assign({ unit });
      await bench.deliver(payload({ sequence: 2, arms: stable, ...changes }));
      assert.equal(bench.rollout.assign({ unit, pin }).revision, revision);
      assert.equal(bench.rollout.assign({ unit }).revision, OLD.short);
    });
  }

  test("tell another process of a unit's event", async () => {
    using bench = await Bench.open();
    using other = await Bench.open();
    const unit = bench.unitOf("stable");
    const a = bench.rollout.assign({ unit });
    await a.request((r) => r.event("refusals"));
    assert.match(a.pin, /\.refusals$/);
    await other.rollout.assign({ unit, pin: a.pin }).request((r) => r.event("refusals"));
    assert.equal(await other.value("unit_events_total", { ...STABLE, metric: "refusals" }), 0);
    assert.equal(await other.value("events_total", { ...STABLE, metric: "refusals" }), 1);
  });
});

test("events that a pin cannot name leave it a pin", async () => {
  const events = ["overBudget", "tool.error", "too many words", ...Array.from({ length: 20 }, (_, i) => `e${i}`)];
  using bench = await Bench.open(payload(), { events });
  const a = bench.rollout.assign({ unit: "conversation" });
  await a.request((r) => events.forEach((name) => r.event(name)));
  assert.equal(parsePin(a.pin)?.events.length, 16);
  assert.ok(bench.rollout.assign({ unit: "conversation", pin: a.pin }).pinned);
});

test("a unit is exposed until its first event", async () => {
  using bench = await Bench.open();
  const a = bench.rollout.assign({ unit: bench.unitOf("stable") });
  for (const fails of [false, true, true, false]) {
    await a.request((r) => {
      if (!fails) return;
      r.event("refusals");
      r.event("refusals");
    });
  }
  const labels = { ...STABLE, metric: "refusals" };
  assert.equal(await bench.value("unit_exposure_total", labels), 2);
  assert.equal(await bench.value("unit_events_total", labels), 1);
  assert.equal(await bench.value("events_total", labels), 2);
  assert.equal(await bench.value("unit_exposure_total", { ...STABLE, metric: "errors" }), 4);
  const cluster = { arm: "stable", cluster: String(a.cluster) };
  assert.equal(await bench.value("cluster_requests_total", cluster), 4);
  assert.equal(await bench.value("cluster_events_total", { ...cluster, metric: "refusals" }), 2);
  assert.equal(await bench.value("cluster_unit_exposure_total", { ...cluster, metric: "refusals" }), 2);
});

test("an event nobody announced, and a missing variable, are reported", async () => {
  using bench = await Bench.open();
  const a = bench.rollout.assign({ unit: bench.unitOf("stable") });
  await a.request((r) => r.event("surprise"));
  assert.equal(await bench.value("sdk_problems_total", { reason: "event" }), 1);
  assert.deepEqual(a.render(), [{ role: "system", content: "Old " }]);
  assert.equal(await bench.value("sdk_problems_total", { reason: "missing_variable" }), 1);
});

test("a part is rendered with its own variables alone", async () => {
  const parts = { search: { text: "Search {{question}}" }, answer: { text: "{{question}} {{passages}}" } };
  const both = seal({ templateFormat: "mustache", parts, variables: ["passages", "question"] });
  const arms = [{ name: "stable", revision: both.short, weight: 10_000 }];
  using bench = await Bench.open(payload({ arms, revisions: [both] }));
  const a = bench.rollout.assign({ unit: "u" });
  const missing = { reason: "missing_variable" };
  assert.equal(a.renderText({ question: "Q" }, { part: "search" }), "Search Q");
  assert.equal(await bench.value("sdk_problems_total", missing), undefined);
  assert.equal(a.renderText({ question: "Q" }, { part: "answer" }), "Q ");
  assert.equal(await bench.value("sdk_problems_total", missing), 1);
});

test("a prompt that cannot be rendered counts as its error, and stable answers", async () => {
  const parts = { planner: { text: "plan" } };
  const lacking = seal({ templateFormat: "mustache", parts });
  const arms = [
    { name: "candidate", revision: lacking.short, weight: 9999 },
    { name: "stable", revision: OLD.short, weight: 1 },
  ];
  using bench = await Bench.open(payload({ arms, revisions: [OLD, lacking] }));
  const a = bench.rollout.assign({ unit: bench.unitOf("candidate") });
  await a.request(() => assert.equal(a.renderText({ shop: "S" }, { part: "default" }), "Old S"));
  const labels = { revision: lacking.short, arm: "candidate", step: "1", outcome: "error" };
  assert.equal(await bench.value("requests_total", labels), 1);
});

test("what is handed out may be changed", async () => {
  using bench = await Bench.open();
  const a = bench.rollout.assign({ unit: bench.unitOf("stable") });
  a.messages[0]!.content = "x";
  a.render({ shop: "S" })[0]!.role = "x";
  a.parameters["temperature"] = 2;
  assert.equal(a.messages[0]?.content, "Old {{shop}}");
  assert.deepEqual([a.parameters, a.model], [{ temperature: 0.2 }, "m1"]);
});
