// Ctrl-C: the first one cancels the build, the third one ends the program at once.

const forcefulCount = 3;
const numbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

export interface Interruption {
	/** Aborts when the user or the system asks the program to end. */
	readonly signal: AbortSignal;
	/** 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP, undefined when nothing came. */
	readonly exitCode: () => number | undefined;
}

export function watchSignals(): Interruption {
	const controller = new AbortController();
	let count = 0;
	let exitCode: number | undefined;
	for (const name of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
		process.on(name, () => {
			count++;
			exitCode ??= 128 + numbers[name];
			if (count >= forcefulCount) {
				process.stderr.write(`got ${count} SIGTERM/SIGINTs, forcefully exiting\n`);
				process.exit(1);
			}
			controller.abort();
		});
	}
	return { signal: controller.signal, exitCode: () => exitCode };
}
