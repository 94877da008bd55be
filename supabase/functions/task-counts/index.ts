// How many tasks there are in each state, by the predicate that a claim goes by. `run_type` narrows what is ready;
// `history: false` leaves out those that have ended, which take the longest to count.
import { typesOf } from "../_shared/run_types.ts";
import { serve } from "../_shared/serve.ts";

interface Counts {
  ready: number;
  ready_by_type: Record<string, number>;
}

export default serve({
  fields: { run_type: "text?", history: "flag?" },
  async answer({ body, queue }) {
    const types = body.run_type === undefined ? undefined : typesOf(body.run_type);
    const counts = await queue.ask<Counts>("task_counts", { p_history: body.history });
    if (!types) return counts;
    const ready = Object.entries(counts.ready_by_type).filter(([type]) => types.includes(type));
    const total = ready.reduce((sum, [, count]) => sum + count, 0);
    return { ...counts, ready: total, ready_by_type: Object.fromEntries(ready) };
  },
});
