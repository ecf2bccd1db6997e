/** The vectors that every SDK passes. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Registry } from "prom-client";

import { PayloadError } from "../src/errors.js";
import { bucketOf, canonical, clusterOf, sha256, splitScore } from "../src/hashing.js";
import { Ledger } from "../src/ledger.js";
import { DURATION_BUCKETS, Metrics } from "../src/metrics.js";
import { load, type Read } from "../src/payload.js";
import { formatToken, parseToken } from "../src/pins.js";
import { Serving } from "../src/serving.js";
import { Prompt } from "../src/prompt.js";
import { compileTemplate } from "../src/templates.js";
import { payload, vectors } from "./kit.js";

type Files = Record<string, string>;

function reader(files: Files): Read {
  return async (name) => {
    const text = files[name];
    if (text === undefined) throw new PayloadError("missing", name);
    return Buffer.from(text);
  };
}

function refusedFor(reason: string): (error: unknown) => boolean {
  return (error) => error instanceof PayloadError && (assert.equal(error.reason, reason), true);
}

describe("assignment", () => {
  const cases = vectors<{
    buckets: { salt: string; unit: string; bucket: number }[];
    clusters: { unit: string; cluster: number }[];
    arms: { weights: { name: string; weight: number }[]; owners: { bucket: number; arm: string }[] };
  }>("assignment.json");

  test("buckets", () => {
    assert.ok(cases.buckets.length > 0);
    for (const { salt, unit, bucket } of cases.buckets) assert.equal(bucketOf(salt, unit), bucket);
  });

  test("clusters", () => {
    for (const { unit, cluster } of cases.clusters) assert.equal(clusterOf(unit), cluster);
  });

  test("arms own consecutive ranges", () => {
    let end = 0;
    const ends = cases.arms.weights.map(({ name, weight }) => ({ name, end: (end += weight) }));
    for (const { bucket, arm } of cases.arms.owners) assert.equal(ends.find((a) => bucket < a.end)?.name, arm);
  });
});

describe("revisions", () => {
  for (const one of vectors<{ name: string; canonical: string; hash: string; short: string }[]>("revisions.json")) {
    test(one.name, () => {
      assert.equal(canonical(JSON.parse(one.canonical)), one.canonical);
      assert.equal(sha256(one.canonical), one.hash);
      assert.equal(one.hash.slice(0, 10), one.short);
    });
  }
});

describe("templates", () => {
  const cases = vectors<{
    rendered: { format: string; template: string; values: Record<string, unknown>; text: string }[];
    broken: { format: string; template: string }[];
    parts: { format: string; document: Record<string, unknown>; wanted: Record<string, string[]> }[];
  }>("templates.json");

  for (const { format, template, values, text } of cases.rendered) {
    if (format === "jinja2") continue; // optional for an SDK; refused below
    test(`${format}: ${template}`, () => assert.equal(compileTemplate(template, format).render(values), text));
  }
  for (const { format, template } of cases.broken) {
    test(`refused ${format}: ${template}`, () => {
      assert.throws(() => compileTemplate(template, format), refusedFor("template"));
    });
  }
  for (const { format, document, wanted } of cases.parts) {
    if (format === "jinja2") continue;
    test(`a part wants only the variables that it uses: ${format}`, () => {
      const { parts } = new Prompt(document, "0123456789");
      const found = [...parts].map(([name, part]) => [name, [...part.variables].sort()]);
      assert.deepEqual(Object.fromEntries(found), wanted);
    });
  }
  test("jinja2 is refused, so the rollout waits instead of failing", () => {
    assert.throws(() => compileTemplate("Hi {{ name }}", "jinja2"), refusedFor("template"));
  });
});

test("a template full of braces is looked through once and not once from each", { timeout: 30_000 }, () => {
  assert.throws(() => compileTemplate("{{".repeat(195_000), "mustache"), /line 1: '\{\{' without/);
});

test("scores and the histograms' buckets", () => {
  const cases = vectors<{ splits: { score: number; nodes: Record<string, number> }[]; durationBuckets: number[] }>(
    "scores.json",
  );
  for (const { score, nodes } of cases.splits) {
    const [node, here, beyond] = splitScore(score);
    const found = Object.entries({ [node]: here, [node + 1]: beyond }).filter(([, weight]) => weight);
    assert.deepEqual(found.map(([name]) => name), Object.keys(nodes));
    for (const [name, weight] of found) assert.ok(Math.abs(weight - (nodes[name] ?? NaN)) < 1e-9);
  }
  assert.deepEqual(DURATION_BUCKETS, cases.durationBuckets);
});

describe("payloads", () => {
  const cases = vectors<{
    served: { name: string; files: Files; sequence: number }[];
    broken: { name: string; files: Files; reason: string }[];
  }>("payloads.json");

  for (const { name, files, sequence } of cases.served) {
    test(`served: ${name}`, async () => assert.equal((await load(reader(files))).sequence, sequence));
  }
  for (const { name, files, reason } of cases.broken) {
    test(`refused: ${name}`, () => assert.rejects(load(reader(files)), refusedFor(reason)));
  }
});

describe("pins", () => {
  const cases = vectors<{
    pins: { name: string; files: Files; pin: string; now: string; follows: object | null }[];
    tokens: { token: string; valid: boolean; cluster?: number }[];
  }>("pins.json");

  for (const { name, files, pin, now, follows } of cases.pins) {
    test(name, async () => {
      const serving = new Serving(await load(reader(files)), new Ledger(Metrics.of(new Registry())));
      for (const look of [1, 2]) {
        const found = serving.follow(pin, Date.parse(now));
        const key = typeof found === "object" ? found.served.series.key : undefined;
        const led = key ? { revision: key.revision, arm: key.arm, step: Number(key.step) } : null;
        assert.deepEqual(led, follows, `look ${look}`);
      }
    });
  }
  test("tokens", () => {
    for (const { token, valid, cluster } of cases.tokens) {
      const parsed = parseToken(token);
      assert.equal(parsed !== undefined, valid, token);
      if (parsed) assert.deepEqual([parsed.cluster, formatToken(parsed)], [cluster, token]);
    }
  });
});

test("of a million units each arm gets its share, and a ramp only moves units from stable to candidate", async () => {
  const units = 1_000_000;
  const ramp = [500, 2500];
  const steps = await Promise.all(ramp.map(async (weight, k) => {
    const read = reader(payload({ sequence: k + 1, weight }) as Files);
    return new Serving(await load(read), new Ledger(Metrics.of(new Registry())));
  }));
  const candidates = ramp.map(() => 0);
  for (let i = 0; i < units; i += 1) {
    let before = false;
    steps.forEach((serving, k) => {
      const candidate = serving.assign(`unit-${i}`).series.key.arm === "candidate";
      if (before && !candidate) assert.fail(`unit-${i} went back to stable at ${ramp[k]}`);
      if (candidate) candidates[k] = (candidates[k] ?? 0) + 1;
      before = candidate;
    });
  }
  ramp.forEach((weight, k) => {
    const share = weight / 10_000;
    const spread = Math.sqrt(units * share * (1 - share));
    assert.ok(Math.abs((candidates[k] ?? 0) - units * share) <= 4 * spread, `${weight}: ${candidates[k]}`);
  });
});
