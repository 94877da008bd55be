import { deepStrictEqual } from "node:assert/strict";
import { post, project, TASK, USER } from "../_shared/testing.ts";
import * as getPredecessorOutput from "./index.ts";

Deno.test("a task without dependencies has no predecessor", async () => {
  project.answers({ task_predecessors: () => [] });
  const { body } = await post(getPredecessorOutput, { task_id: TASK });
  deepStrictEqual(body, { predecessor_id: null, output_location: null, status: null, predecessors: [] });
});

Deno.test("of several predecessors the first is named, and all are listed", async () => {
  const both = [{ id: USER, status: "Complete", output_location: "u" }, {
    id: TASK,
    status: "Queued",
    output_location: null,
  }];
  project.answers({ task_predecessors: () => both });
  const { body } = await post(getPredecessorOutput, { task_id: TASK });
  deepStrictEqual(body, { predecessor_id: USER, output_location: "u", status: "Complete", predecessors: both });
});
