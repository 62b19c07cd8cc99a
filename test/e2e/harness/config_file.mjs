// Temporary config files. JSON is a subset of YAML, so a plain object is enough.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export function writeConfig(config) {
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-e2e-'));
  const path = join(dir, 'holdfast.yaml');
  writeFileSync(path, JSON.stringify(config, null, 2));
  return { path, dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}
