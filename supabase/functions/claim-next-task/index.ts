// Take the next task that is ready: 204 if there is none.
import { hex, sha256 } from "../_shared/digest.ts";
import { OLD_CLIENT_LEASE } from "../_shared/old_clients.ts";
import type { JsonObject } from "../_shared/refusal.ts";
import { typesOf } from "../_shared/run_types.ts";
import { serve } from "../_shared/serve.ts";

interface Claim {
  task: JsonObject & { id: string };
  attempt: number;
  claim_token: string;
  lease_expires_at: string;
}

export default serve({
  scope: "work",
  fields: {
    worker_id: "text?",
    request_id: "text?",
    task_types: "texts?",
    task_ids: "texts?",
    run_type: "text?",
    limit: "integer?",
    lease: "number?",
    start: "flag?",
  },
  async answer({ body, caller, queue }) {
    const claims = await queue.ask<Claim[]>("claim_tasks", {
      p_worker_id: body.worker_id ?? `edge_${hex(await sha256(caller.holder)).slice(0, 16)}`,
      p_limit: body.limit,
      p_task_types: body.task_types ?? (body.run_type === undefined ? undefined : typesOf(body.run_type)),
      p_task_ids: body.task_ids,
      p_request_id: body.request_id,
      p_lease: body.lease ?? OLD_CLIENT_LEASE,
      p_start: body.start ?? body.lease === undefined,
      p_holder: caller.holder,
    });
    const [first] = claims;
    if (!first) return undefined;
    const { params, task_type, project_id } = first.task;
    const several = (body.limit ?? 1) > 1 ? { claims } : {};
    return { task_id: first.task.id, params, task_type, project_id, ...first, ...several };
  },
});
