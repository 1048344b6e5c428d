// Steps that fail: where, what, and the last words; and nothing left behind.
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { makeContext, runObd, startObd, stateOf, type TestStore } from './helpers/obd.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

/** Builds what must fail; returns the output. */
async function failure(t: ExecutionContext, store: TestStore, files: Readonly<Record<string, string | Buffer>>, args: readonly string[] = []): Promise<string> {
	const { code, stderr, stdout } = await runObd(store, [...args, await makeContext(store, files)]);
	t.is(code, 1, stderr);
	t.is(stdout, '');
	await nothingLeft(t, store);
	return stderr;
}

function lastLine(output: string): string {
	return output.trimEnd().split('\n').at(-1) ?? '';
}

// runc copies the two streams side by side: only a pause makes one come after the other.
test.serial('a RUN that fails is shown with its line, command, exit code and last output', async (t) => {
	const { base, store } = t.context;
	const output = await failure(t, store, { Dockerfile: `FROM ${base}
ENV A=1
RUN for i in $(seq 100); do echo line $i; done; \\
    sleep 0.2; echo oh no >&2; exit 7
RUN echo never
` });
	t.regex(output, /^#\d+ [0-9.]+ line 1$/m, 'all of it while it runs');
	t.notRegex(output, /^#.* never$/m);
	const end = output.slice(output.lastIndexOf('------\n > ')).replace(/^\d+\.\d+ /gm, '').replace(base, 'BASE');
	t.is(end, `------
 > [2/3] RUN for i in $(seq 100); do echo line $i; done;     sleep 0.2; echo oh no >&2; exit 7:
line 92
line 93
line 94
line 95
line 96
line 97
line 98
line 99
line 100
oh no
------
Dockerfile:3
--------------------
   2 |     ENV A=1
   3 | >>> RUN for i in $(seq 100); do echo line $i; done; \\
   4 | >>>     sleep 0.2; echo oh no >&2; exit 7
   5 |     RUN echo never
--------------------
ERROR: failed to build: failed to solve: process "/bin/sh -c for i in $(seq 100); do echo line $i; done;     sleep 0.2; echo oh no >&2; exit 7" did not complete successfully: exit code: 7
`);
});

for (const [what, instruction, error] of [
	['a command that does not exist', 'RUN no-such-command', /process "\/bin\/sh -c no-such-command" did not complete successfully: exit code: 127$/],
	['a program that does not exist', 'RUN ["/no/such/program"]', /process "\/no\/such\/program" did not complete successfully: exit code: 1$/],
	['a process that is killed', 'RUN sh -c \'kill -9 $$\'; exit $?', /exit code: 137$/],
	['a user that does not exist', 'RUN --mount=type=tmpfs,target=/x true\nUSER nobody-here\nRUN true', /unable to find user nobody-here: no matching entries in passwd file$/],
	['a group that does not exist', 'USER app:nogroup\nRUN true', /unable to find group nogroup: no matching entries in group file$/],
	['a working directory that is a file', 'WORKDIR /etc/passwd', /\/etc\/passwd/],
	['a file that cannot be copied from a stage', 'COPY --from=0 /nowhere /', /"\/nowhere": not found$/],
	['a shell that does not exist', 'SHELL ["/bin/nosh", "-c"]\nRUN true', /process "\/bin\/nosh -c true" did not complete successfully: exit code: 1$/],
	['a secret that was not given', 'RUN --mount=type=secret,id=missing,required=true true', /secret missing: not found$/],
] as const) {
	test.serial(`the error for ${what} names it and its line`, async (t) => {
		const { base, store } = t.context;
		const from = instruction.includes('--from=0') ? `FROM ${base}\nRUN true\nFROM ${base}` : `FROM ${base}`;
		const dockerfile = `${from}\n${instruction}\n`;
		const output = await failure(t, store, { Dockerfile: dockerfile });
		t.regex(lastLine(output), /^ERROR: failed to build: failed to solve: /);
		t.regex(lastLine(output), error);
		const line = dockerfile.trimEnd().split('\n').length;
		t.regex(output, new RegExp(`^Dockerfile:${line}$[^]*^ +${line} \\| >>> `, 'm'));
	});
}

test.serial('one stage that fails ends the others', async (t) => {
	const { base, store } = t.context;
	const output = await failure(t, store, { Dockerfile: `FROM ${base} AS slow
RUN --mount=type=cache,target=/c touch /c/started; sleep 1000
FROM ${base} AS bad
RUN --mount=type=cache,target=/c while ! test -e /c/started; do sleep 0.1; done; exit 3
FROM scratch
COPY --from=slow /etc /slow
COPY --from=bad /etc /bad
` });
	t.regex(lastLine(output), /exit code: 3$/);
	t.is(stateOf(output, /^\[bad 2\/2\]/), 'ERROR');
	t.is(stateOf(output, /^\[slow 2\/2\]/), 'CANCELED');
});

test.serial('what was built before the failure is there for the next build', async (t) => {
	const { base, store } = t.context;
	const first = await failure(t, store, { Dockerfile: `FROM ${base}\nRUN echo dear > /dear\nRUN exit 1\n` });
	t.is(stateOf(first, /RUN echo dear/), 'DONE');
	const second = await failure(t, store, { Dockerfile: `FROM ${base}\nRUN echo dear > /dear\nRUN exit 2\n` });
	t.is(stateOf(second, /RUN echo dear/), 'CACHED');
	t.regex(lastLine(second), /exit code: 2$/);
});

test.serial('of a process that leaves others behind nothing lives on', async (t) => {
	const { base, store } = t.context;
	const running = startObd(store, [await makeContext(store, { Dockerfile: `FROM ${base}\nRUN (setsid sh -c 'while true; do sleep 1; done' </dev/null >/dev/null 2>&1 &); echo left\n` })]);
	t.is((await running.ended).code, 0);
	await nothingLeft(t, store);
});
