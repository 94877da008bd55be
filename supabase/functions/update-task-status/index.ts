// A holder reports how its task stands; an owner cancels it.
import { invalid } from "../_shared/refusal.ts";
import { serve } from "../_shared/serve.ts";
import { CHANGES } from "./changes.ts";

export default serve({
  fields: {
    task_id: "text",
    status: "text",
    claim_token: "text?",
    output_location: "text?",
    error: "text?",
    retry: "flag?",
    delay: "number?",
    tick: "integer?",
    max_ticks: "integer?",
    lease: "number?",
  },
  async answer({ body, caller, queue }) {
    const change = Object.hasOwn(CHANGES, body.status) ? CHANGES[body.status] : undefined;
    if (!change) {
      throw invalid("status", `is none of ${Object.keys(CHANGES).join(", ")}.`, "Mind upper and lower case.");
    }
    const changed = await change(body, queue, caller);
    return { success: true, task_id: body.task_id, status: body.status, ...changed };
  },
});
