import type { Rate } from "./settings.ts";

/** Isolates live for minutes and are small; this many callers are a few hundred kilobytes. */
const REMEMBERED = 5_000;

interface Bucket {
  tokens: number;
  at: number;
}

/** One token bucket for each key, in the memory of this isolate; the least recently seen key is forgotten first. */
export class Buckets {
  readonly #buckets = new Map<string, Bucket>();

  constructor(
    private readonly rate: Rate,
    private readonly now: () => number = () => performance.now() / 1000,
    private readonly remembered = REMEMBERED,
  ) {}

  /** Take one token: 0 if there was one, else the seconds until there is. */
  take(key: string): number {
    const bucket = this.#filled(key);
    if (bucket.tokens < 1) return this.#missing(bucket);
    bucket.tokens -= 1;
    return 0;
  }

  /** As `take`, but takes nothing. */
  wait(key: string): number {
    const bucket = this.#filled(key);
    return bucket.tokens < 1 ? this.#missing(bucket) : 0;
  }

  get size(): number {
    return this.#buckets.size;
  }

  #missing(bucket: Bucket): number {
    return Math.max(1, Math.ceil((1 - bucket.tokens) / this.rate.perSecond));
  }

  #filled(key: string): Bucket {
    const now = this.now();
    const known = this.#buckets.get(key) ?? { tokens: this.rate.burst, at: now };
    known.tokens = Math.min(this.rate.burst, known.tokens + (now - known.at) * this.rate.perSecond);
    known.at = now;
    this.#buckets.delete(key); // and in again: a Map keeps the order of insertion
    this.#buckets.set(key, known);
    if (this.#buckets.size > this.remembered) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return known;
  }
}
