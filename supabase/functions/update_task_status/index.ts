export { default } from "../update-task-status/index.ts";
