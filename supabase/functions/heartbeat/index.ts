// The holder is alive: its lease goes on from now.
import { serve } from "../_shared/serve.ts";

export default serve({
  scope: "work",
  fields: { task_id: "text", claim_token: "text?", tick: "integer?", max_ticks: "integer?", lease: "number?" },
  answer({ body, queue }) {
    return queue.hold("renew_task", {
      p_task_id: body.task_id,
      p_claim_token: body.claim_token,
      p_lease: body.lease,
      p_tick: body.tick,
      p_max_ticks: body.max_ticks,
    });
  },
});
