/** The acknowledgement: which payload this process serves, and since when. */

import type { Metrics } from "./metrics.js";

/** promptrollout_loaded and promptrollout_loaded_timestamp_seconds of one rollout in this process. */
export class Loaded {
  #labels: readonly [string, string, string] | undefined;

  constructor(private readonly metrics: Metrics) {}

  /** From now on this payload is served. */
  set(rollout: string, sequence: number, digest: string): void {
    const old = this.#labels;
    const fresh = [rollout, String(sequence), digest] as const;
    this.#labels = fresh;
    this.metrics.loadedAt.labels(...fresh).set(Date.now() / 1000);
    this.metrics.loaded.labels(...fresh).set(1);
    if (old && old.join() !== fresh.join()) {
      this.metrics.loaded.remove(...old);
      this.metrics.loadedAt.remove(...old);
    }
  }
}
