import { deepStrictEqual } from "node:assert/strict";
import { post, project, TASK } from "../_shared/testing.ts";
import * as heartbeat from "./index.ts";

Deno.test("a heartbeat renews the lease and reports the tick", async () => {
  project.answers({ renew_task: () => ({ lease_expires_at: "later", cancelled: false }) });
  const { body } = await post(heartbeat, { task_id: TASK, claim_token: "t", tick: 4, max_ticks: 9, lease: 60 });
  deepStrictEqual(body, { lease_expires_at: "later", cancelled: false });
  const fence = { p_task_id: TASK, p_claim_token: "t", p_user_id: null };
  deepStrictEqual(project.parameters("renew_task"), { ...fence, p_tick: 4, p_max_ticks: 9, p_lease: 60 });
});
