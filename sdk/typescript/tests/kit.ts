/** For the tests only: a directory as kubelet keeps it, what to deliver into it, and what a registry says. */

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { Registry } from "prom-client";

import { canonical, sha256 } from "../src/hashing.js";
import { type Options, PromptRollout } from "../src/index.js";

export const NAME = "shop/support-answer";
export const PACKAGE = packageRoot(dirname(fileURLToPath(import.meta.url)));
export const REPOSITORY = dirname(dirname(PACKAGE));

export type Files = Record<string, string | Buffer>;

function packageRoot(folder: string): string {
  return readdirSync(folder).includes("package.json") ? folder : packageRoot(dirname(folder));
}

export function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(join(REPOSITORY, "sdk", "conformance", name), "utf8")) as T;
}

export interface Revision {
  readonly short: string;
  readonly text: string;
}

/** A revision's file as the operator writes it. */
export function seal(document: object): Revision {
  const hash = sha256(canonical(document));
  const short = hash.slice(0, 10);
  return { short, text: canonical({ schema: 1, revision: short, hash, ...document }) };
}

const CHAT = (content: string, more: object = {}): object => ({
  templateFormat: "mustache",
  variables: ["shop"],
  parts: { default: { messages: [{ role: "system", content }] } },
  ...more,
});
export const OLD = seal(CHAT("Old {{shop}}", { model: "m1", parameters: { temperature: 0.2 } }));
export const NEW = seal(CHAT("New {{shop}}", { model: "m2" }));

/** The operator's files: two arms unless said otherwise. */
export function payload(
  { sequence = 1, weight = 500, revisions = [OLD, NEW], ...changes }:
  { sequence?: number; weight?: number; revisions?: readonly Revision[] } & Record<string, unknown> = {},
): Files {
  const fields: Record<string, unknown> = {
    schema: 1, rollout: NAME, sequence, exposure: sequence, unit: "conversation", salt: "s",
    arms: [
      { name: "candidate", revision: NEW.short, weight },
      { name: "stable", revision: OLD.short, weight: 10_000 - weight },
    ],
    documents: Object.fromEntries(revisions.map(({ short, text }) => [short, sha256(text)])),
    ...changes,
  };
  const hash = createHash("sha256").update(canonical(fields)).digest("hex");
  const files = Object.fromEntries(revisions.map(({ short, text }) => [`${short}.json`, text]));
  return { "rollout.json": JSON.stringify({ ...fields, hash }), ...files };
}

/** A ConfigMap mount: every version in a directory of its own, `..data` swapped as kubelet's atomic writer does. */
export class Mount {
  readonly path = mkdtempSync(join(tmpdir(), "promptrollout-"));
  #version = 0;

  write(files: Files): void {
    this.#version += 1;
    const target = `..version_${this.#version}`;
    mkdirSync(join(this.path, target));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(this.path, target, name), text);
    symlinkSync(target, join(this.path, "..data_tmp"));
    renameSync(join(this.path, "..data_tmp"), join(this.path, "..data"));
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export class Log {
  readonly infos: string[] = [];
  readonly warnings: string[] = [];
  readonly info = (message: string): void => void this.infos.push(message);
  readonly warn = (message: string): void => void this.warnings.push(message);
}

/** A rollout over a mount, without background looks, and what its registry says. */
export class Bench {
  readonly mount = new Mount();
  readonly registry = new Registry();
  readonly log = new Log();
  rollout!: PromptRollout;

  static async open(files: Files = payload(), options: Options = {}): Promise<Bench> {
    const bench = new Bench();
    bench.mount.write(files);
    const { registry, log: logger } = bench;
    const told = { registry, logger, events: ["refusals"], scores: ["helpfulness"], watch: false, ...options };
    bench.rollout = await PromptRollout.fromDirectory(bench.mount.path, told);
    return bench;
  }

  async deliver(files: Files): Promise<boolean> {
    this.mount.write(files);
    return this.rollout.refresh();
  }

  /** A sample's value; undefined if there is none. */
  async value(name: string, labels: Record<string, string> = {}): Promise<number | undefined> {
    return valueIn(this.registry, name, { rollout: NAME, ...labels });
  }

  unitOf(arm: string): string {
    for (let i = 0; ; i += 1) if (this.rollout.assign({ unit: `u${i}` }).arm === arm) return `u${i}`;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  close(): void {
    this.rollout.close();
    this.mount.remove();
  }
}

export async function valueIn(
  registry: Registry, name: string, labels: Record<string, string>,
): Promise<number | undefined> {
  const wanted = `promptrollout_${name}`;
  for (const metric of await registry.getMetricsAsJSON()) {
    for (const sample of metric.values as { value: number; labels: Record<string, string>; metricName?: string }[]) {
      const same = Object.keys(labels).length === Object.keys(sample.labels).length
        && Object.entries(labels).every(([key, value]) => String(sample.labels[key]) === value);
      if ((sample.metricName ?? metric.name) === wanted && same) return sample.value;
    }
  }
  return undefined;
}

/** Until `condition` holds; fails loudly after 20 s. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited 20 s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
