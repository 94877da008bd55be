import { deepStrictEqual, equal } from "node:assert/strict";
import { post, project, TASK } from "../_shared/testing.ts";
import * as getCompletedSegments from "./index.ts";

const segments = [{ segment_index: 0, task_id: TASK, output_location: "u" }];

for (const name of ["run_id", "orchestrator_id"]) {
  Deno.test(`segments are found by ${name}, as a plain list`, async () => {
    project.answers({ completed_segments: () => segments });
    deepStrictEqual((await post(getCompletedSegments, { [name]: "run" })).body, segments);
    deepStrictEqual(project.parameters("completed_segments"), { p_run_id: "run", p_user_id: null });
  });
}

for (const body of [{}, { run_id: "" }, { run_id: "run", project_id: "mine" }]) {
  Deno.test(`${JSON.stringify(body)} is refused with 422`, async () => {
    equal((await post(getCompletedSegments, body)).status, 422);
  });
}
