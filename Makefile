# For those whose fingers say make; ./dev does the work.
.PHONY: demo test check golden dist
demo:
	./dev demo
test:
	./dev test
check golden dist:
	./dev $@
bench-%:
	./dev bench $*
