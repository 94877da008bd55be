export { default } from "../create-task/index.ts";
