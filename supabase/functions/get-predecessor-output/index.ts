// What a task depends on, and where the output of it is: null until it is Complete.
import { serve } from "../_shared/serve.ts";

interface Predecessor {
  id: string;
  status: string;
  output_location: string | null;
}

export default serve({
  fields: { task_id: "text" },
  async answer({ body, queue }) {
    const predecessors = await queue.ask<Predecessor[]>("task_predecessors", { p_task_id: body.task_id });
    const [first] = predecessors;
    return {
      predecessor_id: first?.id ?? null,
      output_location: first?.output_location ?? null,
      status: first?.status ?? null,
      predecessors,
    };
  },
});
