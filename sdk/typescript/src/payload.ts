/** What the operator delivers, read and verified: a payload is served whole or not at all. */

import { setImmediate as breathe } from "node:timers/promises";

import { PayloadError, reasonOf } from "./errors.js";
import { canonical, sha256, WHOLE } from "./hashing.js";
import { type Fields, isObject, Prompt } from "./prompt.js";

const SCHEMA = 1;
export const ROLLOUT_FILE = "rollout.json";
const REVISION = /^[0-9a-f]{10}$/;
const AMOUNT = /^[0-9]+(?:\.[0-9]+)?$/; // no Infinity: a budget that nothing exceeds
const ARM = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

/** Reads one file of one version of the payload; PayloadError when it cannot. */
export type Read = (file: string) => Promise<Buffer>;

/** An arm and its share in 1/10,000. */
export interface Arm {
  readonly name: string;
  readonly revision: string;
  readonly weight: number;
}

/** What to run beside the answer: share of requests (1/10,000), and the budget of this process. */
export interface ShadowRules {
  readonly revision: string;
  readonly sample: number;
  readonly maxConcurrent: number;
  readonly usdPerHour: number;
}

/** What the application says of itself: the parts it asks for, the variables it fills (absent: not said). */
export interface Contract {
  readonly parts?: readonly string[];
  readonly variables?: readonly string[];
}

/** A verified payload. `pinned` maps draining revisions to the time (ms since the epoch) they end. */
export interface Payload {
  readonly rollout: string;
  readonly sequence: number;
  readonly exposure: number;
  readonly unit: string;
  readonly salt: string;
  readonly arms: readonly Arm[];
  readonly hash: string;
  readonly prompts: ReadonlyMap<string, Prompt>;
  readonly digests: ReadonlyMap<string, string>;
  readonly pinned: ReadonlyMap<string, number>;
  readonly shadow: ShadowRules | undefined;
}

class Wrong extends Error {}

/**
 * The payload. `known` is the one loaded before: a change of weights compiles no prompt again. Between files the
 * event loop gets its turn, so that a large payload delays no request for long.
 */
export async function load(read: Read, contract: Contract = {}, known?: Payload): Promise<Payload> {
  const fields = verified(await read(ROLLOUT_FILE));
  const payload = understood(fields);
  const prompts = new Map<string, Prompt>();
  for (const revision of live(payload)) {
    prompts.set(revision, await prompt(read, revision, payload.digests.get(revision) ?? "", known));
  }
  for (const one of prompts.values()) honours(one, contract);
  return { ...payload, prompts };
}

function verified(raw: Buffer): Fields {
  const { hash: claimed, ...fields } = parseObject(raw, ROLLOUT_FILE);
  if (fields["schema"] !== SCHEMA) {
    const found = JSON.stringify(fields["schema"]);
    throw new PayloadError("schema", `${ROLLOUT_FILE} has schema ${found}, this SDK reads ${SCHEMA}`);
  }
  if (sha256(canonical(fields)) !== claimed) {
    throw new PayloadError("hash", `${ROLLOUT_FILE} does not match its hash`);
  }
  return { ...fields, hash: claimed };
}

function understood(fields: Fields): Payload {
  try {
    const digests = Object.entries(object(fields["documents"])).map(([k, v]) => [k, text(v)] as const);
    const pinned = list("pinned" in fields ? fields["pinned"] : []).map((pin) => {
      const { revision, until } = object(pin);
      return [revisionName(revision), moment(until)] as const;
    });
    return {
      rollout: text(fields["rollout"]),
      sequence: natural(fields["sequence"]),
      exposure: natural(fields["exposure"]),
      unit: text(fields["unit"]),
      salt: text(fields["salt"]),
      arms: arms(list(fields["arms"])),
      hash: text(fields["hash"]),
      prompts: new Map(),
      digests: new Map(digests),
      pinned: new Map(pinned),
      shadow: shadow(fields["shadow"]),
    };
  } catch (error) {
    if (error instanceof Wrong) throw new PayloadError("invalid", `${ROLLOUT_FILE}: ${error.message}`);
    throw error;
  }
}

function live({ arms: all, pinned, shadow: beside }: Payload): Set<string> {
  return new Set([...all.map((arm) => arm.revision), ...pinned.keys(), ...(beside ? [beside.revision] : [])]);
}

async function prompt(read: Read, revision: string, digest: string, known?: Payload): Promise<Prompt> {
  const file = `${revision}.json`;
  const raw = await read(file).catch((error: unknown) => {
    const missing = error instanceof PayloadError && error.reason === "missing";
    throw missing ? new PayloadError("revision_missing", error.message) : error;
  });
  if (sha256(raw) !== digest) {
    throw new PayloadError("revision_mismatch", `${file} is not the file that ${ROLLOUT_FILE} speaks of`);
  }
  const compiled = known?.digests.get(revision) === digest ? known.prompts.get(revision) : undefined;
  if (compiled) return compiled;
  await breathe();
  const document = parseObject(raw, file);
  if (document["schema"] !== SCHEMA) {
    const found = JSON.stringify(document["schema"]);
    throw new PayloadError("schema", `${file} has schema ${found}, this SDK reads ${SCHEMA}`);
  }
  await breathe();
  return new Prompt(document, revision);
}

function honours(one: Prompt, contract: Contract): void {
  const lacking = (contract.parts ?? []).filter((name) => !one.parts.has(name));
  if (lacking.length > 0) {
    throw new PayloadError("contract", `revision ${one.revision} lacks the parts ${lacking.join(", ")}`);
  }
  const { variables } = contract;
  const unknown = variables ? [...one.variables].filter((name) => !variables.includes(name)) : [];
  if (unknown.length > 0) {
    const names = unknown.join(", ");
    throw new PayloadError("contract", `revision ${one.revision} needs ${names}, which this application does not fill`);
  }
}

function arms(values: readonly unknown[]): Arm[] {
  const found = values.map((value) => {
    const { name, revision, weight } = object(value);
    return { name: text(name), revision: revisionName(revision), weight: integer(weight) };
  });
  const weights = found.map((arm) => arm.weight);
  if (weights.some((weight) => weight < 0) || weights.reduce((a, b) => a + b, 0) !== WHOLE) {
    throw new PayloadError("weights", `weights [${weights.join(", ")}] do not sum to ${WHOLE}`);
  }
  const names = found.map((arm) => arm.name);
  if (new Set(names).size !== names.length || !names.every((name) => ARM.test(name))) {
    throw new Wrong(`arm names ${names.join(", ")}`);
  }
  return found;
}

function shadow(value: unknown): ShadowRules | undefined {
  if (!isObject(value)) return undefined;
  const usdPerHour = text(value["usdPerHour"]);
  if (!AMOUNT.test(usdPerHour)) throw new Wrong(`${usdPerHour} is no amount`);
  return {
    revision: revisionName(value["revision"]),
    sample: natural(value["sample"]),
    maxConcurrent: natural(value["maxConcurrent"]),
    usdPerHour: Number(usdPerHour),
  };
}

function parseObject(raw: Buffer, file: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(raw.toString("utf8"));
  } catch (error) {
    throw new PayloadError("not_json", `${file} is no JSON: ${reasonOf(error)}`);
  }
  if (!isObject(value)) throw new PayloadError("not_json", `${file} holds no JSON object`);
  return value;
}

const ZONED = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})$/;

function moment(value: unknown): number {
  const at = ZONED.test(text(value)) ? Date.parse(text(value)) : Number.NaN;
  if (Number.isNaN(at)) throw new Wrong(`${JSON.stringify(value)} is no time with a time zone`);
  return at;
}

function revisionName(value: unknown): string {
  if (typeof value !== "string" || !REVISION.test(value)) throw new Wrong(`${JSON.stringify(value)} is no revision`);
  return value;
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new Wrong(`${JSON.stringify(value)} is no string`);
  return value;
}

function integer(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw new Wrong(`${JSON.stringify(value)} is no whole number`);
  }
  return value;
}

function natural(value: unknown): number {
  if (integer(value) < 0) throw new Wrong(`${JSON.stringify(value)} is negative`);
  return integer(value);
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Wrong(`${JSON.stringify(value)} is no list`);
  return value;
}

function object(value: unknown): Fields {
  if (!isObject(value)) throw new Wrong(`${JSON.stringify(value)} is no object`);
  return value;
}
