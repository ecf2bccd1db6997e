/**
 * Pins and tokens: short strings that an application keeps with a conversation or an answer.
 *
 * Opaque to applications, the same in every SDK (`sdk/conformance/pins.json`). A pin keeps a conversation on its
 * revision; a token says later which answer a score belongs to. Neither holds anything secret or personal.
 *
 *     pin    1.<revision>.<exposure>.<arm>[.<event>…]     events: those its unit has had in this exposure
 *     token  1.<revision>.<exposure>.<arm>.<cluster>.<namespace>/<name>
 *
 * A pin names at most 16 events, and none whose name has other than letters, digits, `_` and `-`.
 */

const HEAD = "1\\.(?<revision>[0-9a-f]{10}|default)\\.(?<exposure>[0-9]{1,9})\\.(?<arm>[a-z0-9][-a-z0-9]{0,62})";
const PIN = new RegExp(`^${HEAD}(?<events>(?:\\.[A-Za-z0-9_-]{1,63}){0,16})$`);
const EVENT = /^[A-Za-z0-9_-]{1,63}$/;
const MOST_EVENTS = 16;
const TOKEN = new RegExp(`^${HEAD}\\.(?<cluster>[0-9]|1[0-5])\\.(?<rollout>[^\\x00-\\x20]{1,511})$`, "u");

/** What a pin says. */
export interface Pin {
  readonly revision: string;
  readonly exposure: number;
  readonly arm: string;
  readonly events: readonly string[];
}

/** What a token says. */
export interface Token {
  readonly revision: string;
  readonly exposure: number;
  readonly arm: string;
  readonly cluster: number;
  readonly rollout: string;
}

/** The pin, or undefined for anything else (a pin of a newer format, a forged one). */
export function parsePin(text: string): Pin | undefined {
  const found = PIN.exec(text)?.groups;
  if (!found) return undefined;
  const { revision = "", exposure = "", arm = "", events = "" } = found;
  return { revision, exposure: Number(exposure), arm, events: events ? events.slice(1).split(".") : [] };
}

export function formatPin({ revision, exposure, arm, events }: Pin): string {
  const named = events.filter((event) => EVENT.test(event));
  return ["1", revision, exposure, arm, ...named.slice(0, MOST_EVENTS)].join(".");
}

/** The token, or undefined for anything else. */
export function parseToken(text: unknown): Token | undefined {
  const found = typeof text === "string" ? TOKEN.exec(text)?.groups : undefined;
  if (!found) return undefined;
  const { revision = "", exposure = "", arm = "", cluster = "", rollout = "" } = found;
  return { revision, exposure: Number(exposure), arm, cluster: Number(cluster), rollout };
}

export function formatToken({ revision, exposure, arm, cluster, rollout }: Token): string {
  return `1.${revision}.${exposure}.${arm}.${cluster}.${rollout}`;
}
