export { default } from "../get-completed-segments/index.ts";
