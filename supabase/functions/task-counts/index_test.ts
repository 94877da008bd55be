import { deepStrictEqual, equal } from "node:assert/strict";
import { post, project, session, USER } from "../_shared/testing.ts";
import * as taskCounts from "./index.ts";

const counts = { ready: 5, blocked: 1, ready_by_type: { travel_segment: 2, travel_stitch: 3 } };

Deno.test("the counts are those of the caller", async () => {
  project.answers({ task_counts: () => counts });
  deepStrictEqual((await post(taskCounts, {}, await session())).body, counts);
  deepStrictEqual(project.parameters("task_counts"), { p_user_id: USER });
});

Deno.test("a run type narrows what is ready", async () => {
  project.answers({ task_counts: () => counts });
  const { body } = await post(taskCounts, { run_type: "gpu" });
  deepStrictEqual(body, { ready: 2, blocked: 1, ready_by_type: { travel_segment: 2 } });
});

Deno.test("an unknown run type is refused with 422", async () => {
  equal((await post(taskCounts, { run_type: "tpu" })).status, 422);
});
