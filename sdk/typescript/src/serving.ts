/** What is served now: one immutable snapshot of a payload with its bound series, swapped as a whole. */

import type { ArmSeries, ClusterSeries, Key } from "./counting.js";
import { bucketOf } from "./hashing.js";
import type { Ledger } from "./ledger.js";
import type { Payload, ShadowRules } from "./payload.js";
import { parsePin, type Pin } from "./pins.js";
import type { Prompt } from "./prompt.js";

// A pin of an exposure that is further away is counted in today's: label values stay bounded whatever pins say.
const MAX_AGE = 64;
const MAX_PINS = 1024;

/** One revision as served by one arm in one exposure. A draining revision has no clusters: no arm is its own. */
export interface Served {
  readonly exposure: number;
  readonly prompt: Prompt;
  readonly series: ArmSeries;
  readonly clusters: ClusterSeries | undefined;
}

/** What a pin leads to; `until` is when that ends (ms since the epoch). */
interface Followed {
  readonly served: Served;
  readonly pin: Pin;
  readonly until: number;
}

/** A payload, ready to assign. */
export class Serving {
  readonly last: Served;
  readonly #arms: readonly { end: number; served: Served }[];
  readonly #pinned = new Map<string, Served>();
  readonly #followed = new Map<string, Followed>();

  constructor(
    readonly payload: Payload,
    private readonly ledger: Ledger,
  ) {
    let end = 0;
    this.#arms = payload.arms.map((arm) => {
      end += arm.weight;
      return { end, served: this.#served(arm.name, arm.revision, payload.exposure, true) };
    });
    this.last = this.#arms.at(-1)?.served as Served; // weights sum to 10,000, so there is an arm
  }

  /** The keys of what is served. */
  get keys(): Key[] {
    const beside = this.payload.shadow ? [this.shadowed(this.payload.shadow)] : [];
    return [...this.#arms.map(({ served }) => served), ...beside].map((served) => served.series.key);
  }

  /** The unit's arm by its bucket. */
  assign(unit: string): Served {
    const bucket = bucketOf(this.payload.salt, unit);
    for (const { end, served } of this.#arms) if (bucket < end) return served;
    return this.last;
  }

  /** What a pin's conversation goes on with at `now` (ms since the epoch), "no pin", or undefined when it is gone. */
  follow(text: string, now: number): Followed | "no pin" | undefined {
    const known = this.#followed.get(text);
    if (known && now < known.until && !known.served.series.dropped) return known;
    const pin = parsePin(text);
    if (!pin) return "no pin";
    const found = this.#lead(pin, now);
    if (found) {
      if (this.#followed.size >= MAX_PINS) this.#followed.clear();
      this.#followed.set(text, found);
    }
    return found;
  }

  /** The revision that runs in the shadow; its arm is called `shadow`. */
  shadowed(rules: ShadowRules): Served {
    return this.#served("shadow", rules.revision, this.payload.exposure, false);
  }

  /**
   * A live arm keeps its conversations, unless its weight was taken to 0 and it is not the last (stable) one: that is
   * a rollback. A draining revision keeps them until its time is over.
   */
  #lead(pin: Pin, now: number): Followed | undefined {
    const { arms, pinned } = this.payload;
    const own = arms.filter((arm) => arm.revision === pin.revision);
    own.sort((a, b) => Number(a.name !== pin.arm) - Number(b.name !== pin.arm));
    const arm = own.find((one) => one.weight > 0 || one === arms.at(-1));
    if (arm) return { served: this.#cached(arm.name, pin, true), pin, until: Infinity };
    const until = pinned.get(pin.revision) ?? 0;
    return now < until ? { served: this.#cached(pin.arm, pin, false), pin, until } : undefined;
  }

  #cached(arm: string, pin: Pin, live: boolean): Served {
    const near = Math.abs(pin.exposure - this.payload.exposure) <= MAX_AGE;
    const exposure = near ? pin.exposure : this.payload.exposure;
    const where = `${pin.revision}.${exposure}.${arm}`;
    let served = this.#pinned.get(where);
    if (!served || served.series.dropped) {
      if (this.#pinned.size > MAX_AGE) this.#pinned.clear();
      served = this.#served(arm, pin.revision, exposure, live);
      this.#pinned.set(where, served);
    }
    return served;
  }

  #served(arm: string, revision: string, exposure: number, live: boolean): Served {
    const { rollout } = this.payload;
    return {
      exposure,
      prompt: this.payload.prompts.get(revision) as Prompt, // `load` made one for each revision
      series: this.ledger.arm({ rollout, revision, arm, step: String(exposure) }),
      clusters: live ? this.ledger.clusters(rollout, arm) : undefined,
    };
  }
}
