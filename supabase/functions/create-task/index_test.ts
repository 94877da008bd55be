import { deepStrictEqual, equal, match } from "node:assert/strict";
import { post, project, session, TASK, USER } from "../_shared/testing.ts";
import * as createTask from "./index.ts";
import { OWNED } from "./tasks.ts";

const stored = { enqueue_tasks: () => [{ task: { id: TASK, status: "Queued" }, created: true }] };

Deno.test("a task is enqueued for the user who asks", async () => {
  project.answers(stored);
  const { status, body } = await post(
    createTask,
    { task_id: TASK, task_type: "single_image", params: { a: 1 } },
    await session(),
  );
  equal(status, 200);
  deepStrictEqual(body, { task_id: TASK, status: "Task queued", created: true, task: { id: TASK, status: "Queued" } });
  deepStrictEqual(project.parameters("enqueue_tasks"), {
    p_tasks: [{ id: TASK, task_type: "single_image", params: { a: 1 } }],
    p_user_id: USER,
  });
});

for (const dependant_on of [TASK, [TASK]]) {
  Deno.test(`dependant_on may be ${Array.isArray(dependant_on) ? "a list" : "one id"}`, async () => {
    project.answers(stored);
    await post(createTask, { dependant_on });
    deepStrictEqual(project.parameters("enqueue_tasks")?.p_tasks, [{ depends_on: [TASK] }]);
  });
}

Deno.test("a batch is handed on whole, in its order", async () => {
  project.answers({
    enqueue_tasks: () => [{ task: { id: "a" }, created: true }, { task: { id: "b" }, created: false }],
  });
  const { body } = await post(createTask, { tasks: [{ id: "a" }, { task_id: "b", depends_on: ["a"] }] });
  equal(body.tasks.length, 2);
  deepStrictEqual(project.parameters("enqueue_tasks")?.p_tasks, [{ id: "a" }, { id: "b", depends_on: ["a"] }]);
});

for (const field of OWNED) {
  Deno.test(`${field} is the server's, alone and in a batch`, async () => {
    project.answers(stored);
    for (
      const [body, path] of [[{ [field]: null }, field], [{ tasks: [{ [field]: 1 }] }, `tasks[0].${field}`]] as const
    ) {
      const answer = await post(createTask, body);
      equal(answer.status, 422);
      deepStrictEqual(answer.body.details, { field, path });
      match(answer.body.message, /the server's to set/);
    }
    equal(project.calls.length, 0);
  });
}

const refused: [body: unknown, path: string][] = [
  [{ task_typ: "single_image" }, "task_typ"],
  [{ tasks: [{ task_typ: "single_image" }] }, "tasks[0].task_typ"],
  [{ tasks: {} }, "tasks"],
  [{ tasks: [1] }, "tasks[0]"],
  [{ tasks: [], task_type: "single_image" }, "task_type"],
  [{ task_id: TASK, id: USER }, "task_id"],
  [{ dependant_on: TASK, depends_on: [TASK] }, "dependant_on"],
];
for (const [body, path] of refused) {
  Deno.test(`${JSON.stringify(body)} is refused, naming ${path}`, async () => {
    const answer = await post(createTask, body);
    equal(answer.status, 422);
    equal(answer.body.details.path, path);
  });
}
