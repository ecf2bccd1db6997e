/**
 * Metric families whose series are bound once and counted in without a look-up.
 *
 * They live in a prom-client registry beside the application's own metrics and aggregate over the workers of a
 * cluster as those do. prom-client's own children hash their labels at every count, and its Summary keeps a digest of
 * quantiles that nobody asked for.
 */

import type { Aggregator, Metric, Registry } from "prom-client";

type Labels = Record<string, string | number>;
type Value = { value: number; labels: Labels; metricName?: string };

interface Child {
  values(name: string, labels: Labels): Value[];
  reset(): void;
}

abstract class Family<C extends Child> {
  // prom-client reads and, for OpenMetrics, renames it.
  name: string;
  readonly collect = undefined;
  readonly #children = new Map<string, { labels: Labels; child: C }>();

  constructor(
    registry: Registry,
    name: string,
    readonly help: string,
    private readonly labelNames: readonly string[],
    readonly type: string,
    readonly aggregator: Aggregator = "sum",
  ) {
    this.name = name;
    // Its type names only prom-client's four classes; what it calls is get, reset and these fields.
    registry.registerMetric(this as unknown as Metric);
  }

  protected abstract make(): C;

  /** The series with these label values, in the order of the names; at zero when it is new. */
  labels(...values: readonly string[]): C {
    const key = values.join("\xff");
    let found = this.#children.get(key);
    if (!found) {
      const labels = Object.fromEntries(this.labelNames.map((name, i) => [name, values[i] ?? ""]));
      found = { labels, child: this.make() };
      this.#children.set(key, found);
    }
    return found.child;
  }

  /** Drop a series. */
  remove(...values: readonly string[]): void {
    this.#children.delete(values.join("\xff"));
  }

  /** All values, as prom-client asks for them. */
  async get(): Promise<object> {
    const values: Value[] = [];
    for (const { labels, child } of this.#children.values()) values.push(...child.values(this.name, labels));
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values };
  }

  reset(): void {
    for (const { child } of this.#children.values()) child.reset();
  }
}

/** One number. */
export class Cell implements Child {
  #value = 0;

  get value(): number {
    return this.#value;
  }

  /** Add; what is negative or no number is not added. */
  inc(by = 1): void {
    if (by > 0) this.#value += by;
  }

  set(value: number): void {
    this.#value = value;
  }

  values(_name: string, labels: Labels): Value[] {
    return [{ value: this.#value, labels }];
  }

  reset(): void {
    this.#value = 0;
  }
}

/** Count and sum of observations. */
export class Sums implements Child {
  #count = 0;
  #sum = 0;

  observe(value: number): void {
    this.#count += 1;
    this.#sum += value;
  }

  values(name: string, labels: Labels): Value[] {
    return [
      { metricName: `${name}_sum`, value: this.#sum, labels },
      { metricName: `${name}_count`, value: this.#count, labels },
    ];
  }

  reset(): void {
    this.#count = this.#sum = 0;
  }
}

/** A histogram's series. */
export class Buckets implements Child {
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(private readonly bounds: readonly number[]) {
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    this.#sum += value;
    let low = 0;
    let high = this.bounds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value <= (this.bounds[middle] ?? Infinity)) high = middle;
      else low = middle + 1;
    }
    this.#counts[low] = (this.#counts[low] ?? 0) + 1;
  }

  values(name: string, labels: Labels): Value[] {
    const found: Value[] = [];
    let below = 0;
    this.#counts.forEach((count, i) => {
      below += count;
      found.push({ metricName: `${name}_bucket`, value: below, labels: { ...labels, le: this.bounds[i] ?? "+Inf" } });
    });
    found.push({ metricName: `${name}_sum`, value: this.#sum, labels });
    found.push({ metricName: `${name}_count`, value: below, labels });
    return found;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#sum = 0;
  }
}

export class CounterFamily extends Family<Cell> {
  constructor(registry: Registry, name: string, help: string, labelNames: readonly string[]) {
    super(registry, name, help, labelNames, "counter");
  }

  protected override make(): Cell {
    return new Cell();
  }
}

export class GaugeFamily extends Family<Cell> {
  constructor(registry: Registry, name: string, help: string, labelNames: readonly string[], over: Aggregator = "sum") {
    super(registry, name, help, labelNames, "gauge", over);
  }

  protected override make(): Cell {
    return new Cell();
  }
}

export class SummaryFamily extends Family<Sums> {
  constructor(registry: Registry, name: string, help: string, labelNames: readonly string[]) {
    super(registry, name, help, labelNames, "summary");
  }

  protected override make(): Sums {
    return new Sums();
  }
}

export class HistogramFamily extends Family<Buckets> {
  constructor(
    registry: Registry,
    name: string,
    help: string,
    labelNames: readonly string[],
    private readonly bounds: readonly number[],
  ) {
    super(registry, name, help, labelNames, "histogram");
  }

  protected override make(): Buckets {
    return new Buckets(this.bounds);
  }
}
