// Runs the checks of one client and reports each as a line of JSON.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const URL = process.env.STAGEGATE_URL; // with /v1
export const MODEL = process.env.STAGEGATE_MODEL;
export const QUESTION = 'Who wrote this book?';

export function assert(condition, message) {
  if (!condition) throw new Error(message ?? 'the condition is false');
}

// checks: functions that pass when they return. packages: whose versions are reported.
export async function run(packages, checks) {
  const versions = {};
  for (const name of packages) {
    const manifest = join(import.meta.dirname, 'node_modules', name, 'package.json');
    versions[name] = JSON.parse(readFileSync(manifest)).version;
  }
  console.log(JSON.stringify({ versions }));
  for (const check of checks) {
    let error = null;
    try {
      await check();
    } catch (problem) {
      error = `${problem.stack}\n${JSON.stringify(problem.responseBody ?? null)}`;
    }
    console.log(JSON.stringify({ check: check.name, error }));
  }
}
