// The VM suite: run inside a guest by test/vm/run. One file and one test at a time: devices of a test that
// looks for leftovers must be its own, and emulation is slow enough as it is.
export default {
	files: ['dist/test/vm/**/*.test.js'],
	workerThreads: false,
	concurrency: 1,
	serial: true,
	timeout: '10m',
};
