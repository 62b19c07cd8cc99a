// Finds or builds the holdfast binary. HOLDFAST_BIN names a ready one (scripts/test
// sets it); otherwise it is built once into .build, which git ignores.
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const suiteDir = dirname(dirname(fileURLToPath(import.meta.url)));
const rootDir = dirname(dirname(suiteDir));

/**
 * The environment without HOLDFAST_*: those would be settings, and holdfast warns of
 * the ones that it does not know, this suite's own among them.
 */
export const plainEnvironment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HOLDFAST_')));

let built;

export function holdfastBinary() {
  if (process.env.HOLDFAST_BIN) return process.env.HOLDFAST_BIN;
  if (!built) {
    const dir = join(suiteDir, '.build');
    mkdirSync(dir, { recursive: true });
    // Test files run in processes of their own: each builds under its own name and
    // moves the result into place, so that nobody runs a half-written file.
    const mine = join(dir, `holdfast.${process.pid}`);
    execFileSync('go', ['build', '-o', mine, './cmd/holdfast'], { cwd: rootDir, stdio: ['ignore', 'inherit', 'inherit'] });
    built = join(dir, 'holdfast');
    renameSync(mine, built);
  }
  return built;
}
