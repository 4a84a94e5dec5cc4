import pytest

from interfaces.admission import Admission


def test_without_limits_all_come_in_and_nothing_is_left_of_who_went():
    admission = Admission("x")
    hosts = ["a", "a", None, "b"]
    assert all(map(admission.admit, hosts)) and admission.count == 4 and admission.addresses == {"a": 2, "b": 1}
    for host in hosts:
        admission.left(host)
    assert admission.count == 0 and admission.addresses == {}


@pytest.mark.parametrize(("limits", "hosts"), [((2, 0), "abc"), ((0, 2), "aaa")])
def test_who_is_over_a_limit_is_refused_until_another_goes(limits, hosts):
    admission = Admission("x", *limits)
    assert [admission.admit(host) for host in hosts] == [True, True, False]
    assert admission.count == 2 and admission.refused == 1
    admission.left(hosts[0])
    assert admission.admit(hosts[2])


def test_unix_sockets_have_no_address():
    admission = Admission("x", 0, 1)
    assert admission.admit(None) and admission.admit(None)
