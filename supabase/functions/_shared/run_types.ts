import { invalid } from "./refusal.ts";
import types from "./run_types.json" with { type: "json" };

const POOLS: Record<string, string[]> = types;

/** The task types that a pool works on; the table is `tasks/kinds.py`, and a test compares the two. */
export function typesOf(pool: string): string[] {
  const known = Object.keys(POOLS);
  const found = known.includes(pool) ? POOLS[pool] : undefined;
  if (!found) throw invalid("run_type", `is none of ${known.join(", ")}.`);
  return found;
}
