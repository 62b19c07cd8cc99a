// The two pages in a real browser: the shared document of `holdfast dev` in several
// windows, by its own few lines of client and by the stock one, and the console.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { faultsOf } from './harness/accessibility.mjs';
import { Api } from './harness/api.mjs';
import { startGateway } from './harness/gateway.mjs';
import { holdfastOnly, oneProcessOnly } from './harness/target.mjs';

const bundle = join(dirname(fileURLToPath(import.meta.url)), 'node_modules/socket.io-client-4/dist');
const limit = 10_000;
const quiet = ['--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** A server with its default configuration, or a given one, and windows onto it. */
function useBrowser(config = null) {
  const world = { problems: [], rooms: 0 };
  before(async () => {
    world.gateway = await startGateway(config);
    world.url = world.gateway.url;
    world.api = new Api(world.gateway.api);
    world.browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', ...quiet] });
  });
  after(async () => {
    await world.browser?.close();
    await world.gateway?.stop();
  });
  afterEach(async () => {
    for (const context of world.browser.contexts()) await context.close();
    // A blocked script, an unhandled error: nothing may be said on the console.
    assert.deepEqual(world.problems.splice(0), []);
  });

  /** A window of somebody of that name, connected. */
  world.open = async (name, { room, path = `/?guid=${room}`, base = world.url, ...options } = {}) => {
    const context = await world.browser.newContext({ viewport: { width: 900, height: 900 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(limit);
    page.on('console', (m) => ['error', 'warning'].includes(m.type()) && world.problems.push(`${name}: ${m.text()}`));
    page.on('pageerror', (error) => world.problems.push(`${name}: ${error.stack}`));
    await page.addInitScript((n) => sessionStorage.getItem('holdfast:name') ?? sessionStorage.setItem('holdfast:name', n), name);
    await page.goto(base + path);
    if (base === world.url) await page.waitForSelector('[data-state=on]');
    return page;
  };
  world.room = () => `doc-page-${(world.rooms += 1)}`;
  return world;
}

const seen = (page, selector, text) => page.locator(selector, { hasText: text }).first().waitFor();
const gone = (page, selector, text) => page.locator(selector, { hasText: text }).first().waitFor({ state: 'detached' });

async function comment(page, text) {
  await page.fill('#comment-text', text);
  await page.click('#comment-form button.primary');
}

/** Every button can be read while the pointer is on it. */
async function accessibleUnderThePointer(page) {
  for (const button of await page.locator('button:enabled:visible').all()) {
    await button.hover();
    assert.deepEqual(await page.evaluate(faultsOf), [], `with the pointer on ${await button.textContent()}`);
  }
}

const comments = (page) => page.locator('#comments p').allTextContents();

function sharedDocument(world, more = '') {
  const two = async () => {
    const room = world.room();
    const at = { path: `/?guid=${room}${more}`, room };
    const ada = await world.open('Ada Bell', at);
    const bo = await world.open('Bo Chen', at);
    await seen(ada, '#people li', 'Bo Chen');
    await seen(bo, '#people li', 'Ada Bell');
    return { room, at, ada, bo };
  };

  it('shows who is here, and who has left', async () => {
    const { ada, bo, at } = await two();
    await seen(ada, '#count', '2 people here');
    await seen(ada, '#people li', 'you');
    assert.equal(await ada.locator('#people .avatar').first().textContent(), 'AB');
    const cleo = await world.open('Cleo', at);
    for (const page of [ada, bo, cleo]) await seen(page, '#count', '3 people here');
    await cleo.close();
    for (const page of [ada, bo]) {
      await gone(page, '#people li', 'Cleo');
      await seen(page, '#count', '2 people here');
    }
    await bo.fill('#name', 'Bo the Second');
    await bo.press('#name', 'Tab');
    await seen(ada, '#people li', 'Bo the Second');
  });

  it('shows the cursor of the other where it is in the text, until it leaves', async () => {
    const { ada, bo } = await two();
    await ada.setViewportSize({ width: 1300, height: 900 }); // the windows need not have one size
    const from = await bo.locator('[data-block]').nth(1).boundingBox();
    await bo.mouse.move(from.x + from.width / 2, from.y + from.height / 2, { steps: 3 });
    const cursor = ada.locator('.cursor span', { hasText: 'Bo Chen' });
    await cursor.waitFor();
    await ada.waitForFunction(() => {
      const block = document.querySelectorAll('[data-block]')[1].getBoundingClientRect();
      const tip = document.querySelector('.cursor').getBoundingClientRect();
      return Math.abs(tip.x - (block.x + block.width / 2)) < 3 && Math.abs(tip.y - (block.y + block.height / 2)) < 3;
    });
    await bo.mouse.move(2, 2, { steps: 3 });
    await cursor.waitFor({ state: 'detached' });
  });

  it('shows a comment to all at once, and to a newcomer', async () => {
    const { ada, bo, at } = await two();
    await ada.click('[data-label="paragraph 2"] .comment');
    await comment(ada, 'Is <b>this</b> so?');
    await seen(bo, '#comments li', 'Ada Bell');
    await comment(bo, 'It is.');
    for (const page of [ada, bo]) await seen(page, '#comments li', 'It is.');
    await gone(ada, '#comments em', 'sending');
    await bo.getByRole('button', { name: 'on paragraph 2', exact: true }).waitFor();
    await ada.getByRole('button', { name: 'Comment on paragraph 2; it has 1' }).waitFor();
    const cleo = await world.open('Cleo', at);
    await seen(cleo, '#comments li', 'It is.');
    assert.deepEqual(await comments(cleo), ['Is <b>this</b> so?', 'It is.']);
  });

  it('follows the presenter until one looks elsewhere', async () => {
    const { ada, bo, at } = await two();
    await ada.getByRole('button', { name: 'Slide 2' }).click();
    await ada.getByRole('button', { name: 'Present' }).click();
    await bo.getByRole('button', { name: 'Follow Ada Bell' }).click();
    await seen(bo, '.slide:visible', 'A route decides');
    await ada.getByRole('button', { name: 'Slide 4' }).click();
    await seen(bo, '.slide:visible', 'Everybody hears');
    await ada.getByRole('button', { name: 'page:slide' }).click();
    await seen(bo, '#rows tr.chosen', 'page:slide');
    const cleo = await world.open('Cleo', at);
    await cleo.getByRole('button', { name: 'Follow Ada Bell' }).click();
    await seen(cleo, '#rows tr.chosen', 'page:slide');

    await bo.getByRole('button', { name: 'Slide 1' }).click();
    await bo.getByRole('button', { name: 'Follow Ada Bell' }).waitFor();
    await ada.getByRole('button', { name: 'Slide 3' }).click();
    await seen(cleo, '.slide:visible', 'The room’s log has it');
    await seen(bo, '.slide:visible', 'A browser emits');
    await ada.close();
    await seen(bo, '#presenting', 'Nobody presents.');
  });

  it('shows a push, and answers one that wants it', async () => {
    const { room, ada, bo } = await two();
    await world.api.push({ room }, 'saved', [{ rev: 12 }, 'by hand']);
    for (const page of [ada, bo]) {
      await seen(page, '.toast', 'saved');
      await seen(page, '#pushes li', '{"rev":12}, "by hand"');
    }
    assert.doesNotMatch(await ada.locator('#pushes code').first().textContent(), /, "[^"]*\.[^"]*"$/, 'the offset shows');
    const { acks, missing } = await world.api.pushAndWait({ room }, 'ask', []);
    assert.deepEqual(acks.map((a) => a.payload.json).sort(), ['[{"from":"Ada Bell"}]', '[{"from":"Bo Chen"}]']);
    assert.equal(missing ?? 0, 0);
  });

  it('comes back by itself, and has missed nothing', async () => {
    const { ada, bo } = await two();
    await comment(bo, 'one');
    await seen(ada, '#comments li', 'one');
    const id = await ada.evaluate(() => document.querySelector('#people li').textContent);
    await ada.context().setOffline(true);
    await ada.evaluate(() => document.getElementById('drop').click()); // the stock client has noticed by itself
    await ada.waitForSelector('[data-state=off]');
    await comment(bo, 'two');
    await comment(bo, 'three');
    await comment(ada, 'from the dark');
    await seen(ada, '#comments em', 'sending');
    await ada.context().setOffline(false);
    world.problems.splice(0); // the browser says that it is offline
    await seen(ada, '.toast', 'nothing was missed');
    await seen(ada, '#comments li', 'three');
    await gone(ada, '#comments em', 'sending');
    await seen(bo, '#comments li', 'from the dark');
    assert.deepEqual((await comments(ada)).sort(), ['from the dark', 'one', 'three', 'two']);
    assert.equal(await ada.evaluate(() => document.querySelector('#people li').textContent), id);
    world.problems.splice(0);
  });
}

describe('the page, by its own client', { ...holdfastOnly('it has no page'), ...oneProcessOnly('the page is of `holdfast dev`') }, () => {
  const world = useBrowser();
  sharedDocument(world);

  it('goes on after a reload where it was', async () => {
    const room = world.room();
    const ada = await world.open('Ada Bell', { room });
    await comment(ada, 'kept');
    await gone(ada, '#comments em', 'sending');
    await ada.reload();
    await seen(ada, '.toast', 'nothing was missed');
    assert.deepEqual(await comments(ada), ['kept']);
    assert.equal(await ada.inputValue('#name'), 'Ada Bell');
    await seen(ada, '#count', 'Only you are here');
  });

  it('is one document for each room', async () => {
    const ada = await world.open('Ada Bell', { room: world.room() });
    const bo = await world.open('Bo Chen', { room: world.room() });
    await comment(ada, 'here only');
    await gone(ada, '#comments em', 'sending');
    await seen(bo, '#count', 'Only you are here');
    assert.deepEqual(await comments(bo), []);
  });

  it('says so when the server sends it away, and comes back when asked', async () => {
    const room = world.room();
    const ada = await world.open('Ada Bell', { room });
    await world.api.disconnect({ room });
    await seen(ada, '#state-text', 'Disconnected by the server');
    await ada.click('#come-back');
    await ada.waitForSelector('[data-state=on]');
  });

  it('shows commands that work for a room of any name', async () => {
    const room = `it's "${world.room()}" & co`;
    const ada = await world.open('Ada Bell', { path: `/?guid=${encodeURIComponent(room)}` });
    const command = await ada.textContent('#curl');
    assert.ok(command.startsWith(`curl ${world.api.url}/holdfast.v1.PushService/Push -d '`), command);
    const body = JSON.parse(command.slice(command.indexOf(" -d '") + 5, -1).replaceAll(String.raw`'\''`, "'"));
    await world.api.call('PushService', 'Push', body);
    await seen(ada, '#pushes li', '{"rev":12}');
  });

  for (const colorScheme of ['light', 'dark']) {
    it(`is accessible, ${colorScheme}`, async () => {
      const room = world.room();
      const ada = await world.open('Ada Bell', { room, colorScheme, reducedMotion: 'reduce' });
      const bo = await world.open('Bo Chen', { room });
      await comment(bo, 'one');
      await bo.click('#present');
      await ada.click('#follow');
      await ada.click('#rows button');
      await world.api.push({ room }, 'saved', [1]);
      await seen(ada, '.toast', 'saved');
      assert.deepEqual(await ada.evaluate(faultsOf), []);
      await accessibleUnderThePointer(ada);
    });
  }

  it('can be used by keyboard', async () => {
    const room = world.room();
    const ada = await world.open('Ada Bell', { room });
    const bo = await world.open('Bo Chen', { room });
    await ada.focus('#comment-text');
    await ada.keyboard.type('typed');
    await ada.keyboard.press('Control+Enter');
    await seen(bo, '#comments li', 'typed');
    await ada.focus('#present');
    await ada.keyboard.press('Space');
    await bo.focus('#follow');
    await bo.keyboard.press('Enter');
    await ada.focus('#next');
    await ada.keyboard.press('Enter');
    await seen(bo, '.slide:visible', 'A route decides');
  });
});

describe('the page, by long-polling', { ...holdfastOnly('it has no page'), ...oneProcessOnly('the page is of `holdfast dev`') }, () => {
  sharedDocument(useBrowser(), '&transport=polling');
});

describe('the page, by the stock client', { ...holdfastOnly('it has no page'), ...oneProcessOnly('the page is of `holdfast dev`') }, () => {
  sharedDocument(useBrowser({ client_bundle: bundle }));
});

describe('the console', { ...holdfastOnly('it has no console'), ...oneProcessOnly('its clients here are the pages of `holdfast dev`') }, () => {
  const world = useBrowser();
  const open = (hash, options) => world.open('console', { base: world.gateway.api, path: `/#${hash}`, ...options });

  it('counts, lists and shows details', async () => {
    const room = world.room();
    const page = await open(`room/${room}`);
    await seen(page, '#target-clients', '0');
    await world.open('Ada Bell', { room });
    await seen(page, '#target-clients', '1');
    await seen(page, '#clients tr', room);
    await page.locator('#clients button').click();
    await seen(page, '#details dd', 'websocket');
    assert.match(page.url(), /#client\//);
    await seen(page, '#health', 'API reached');
  });

  it('lists the processes', async () => {
    const room = world.room();
    await world.open('Ada Bell', { room });
    const page = await open('all');
    await seen(page, '#nodes tr', 'dev');
    const cells = await page.locator('#nodes tr').first().locator('th, td').allTextContents();
    assert.equal(cells.length, 7);
    assert.notEqual(cells[2], '');
    assert.ok(Number(cells[3]) >= 1, `${cells[3]} clients`);
    assert.match(cells[4], /^\d+\.\d\d$/);
    assert.equal(cells[5], 'now');
    await page.locator('#nodes button').click();
    await seen(page, '#clients tr', room);
    assert.match(page.url(), /#node\//);
  });

  it('pushes, moves and disconnects', async () => {
    const room = world.room();
    const ada = await world.open('Ada Bell', { room });
    const page = await open(`room/${room}`);
    await seen(page, '#target-clients', '1');
    await page.fill('#event', 'note');
    await page.fill('#args', '{"a":1}');
    await page.click('#push button');
    await seen(page, '#args-problem', 'no array');
    await page.fill('#args', '[{"a":1}]');
    await page.click('#push button');
    await seen(ada, '#pushes li', '{"a":1}');
    await seen(page, '#answers li.good', 'messageId');
    await page.check('#wait');
    await page.click('#push button');
    await seen(page, '#answers li', 'Ada Bell');
    await page.fill('#room', `${room}-b`);
    await page.click('button[value=Join]');
    await seen(page, '#clients tr', `${room}-b`);
    await page.click('button[value=Leave]');
    await gone(page, '#clients tr', `${room}-b`);
    page.once('dialog', (dialog) => dialog.accept());
    await page.uncheck('#again');
    await page.click('#disconnect button');
    await seen(ada, '#state-text', 'Disconnected by the server');
    await page.fill('#room', 'x'.repeat(600));
    await page.click('button[value=Join]');
    await seen(page, '#answers li.bad', 'rooms');
    world.problems.splice(0); // the browser notes the status 400
  });

  for (const colorScheme of ['light', 'dark']) {
    it(`is accessible, ${colorScheme}`, async () => {
      const room = world.room();
      await world.open('Ada Bell', { room });
      const page = await open(`room/${room}`, { colorScheme });
      await page.click('#push button');
      await page.locator('#clients button').click();
      await seen(page, '#details dd', 'websocket');
      assert.deepEqual(await page.evaluate(faultsOf), []);
      await accessibleUnderThePointer(page);
      await page.setViewportSize({ width: 390, height: 844 });
      assert.deepEqual(await page.evaluate(faultsOf), []);
    });
  }
});

describe('the console of an API with tokens', { ...holdfastOnly('it has no console'), ...oneProcessOnly('the page is of `holdfast dev`') }, () => {
  const token = 'a-token-of-this-test';
  const world = useBrowser({ api_tokens: [token] });

  it('asks for one, and works with it', async () => {
    const page = await world.open('console', { base: world.gateway.api, path: '/#all' });
    await page.fill('#token', token);
    await page.click('#sign-in button');
    await seen(page, '#health', 'API reached');
    await seen(page, '#nodes tr', 'dev');
    await gone(page, '#sign-in:visible', '');
    await page.click('#push button');
    await seen(page, '#answers li.good', 'messageId');
    await seen(page, '#answers li', '-H "Authorization: Bearer $HOLDFAST_API_TOKEN"');
  });
});
