import pytest
import torch

from lightning_flows.functional.householder import reflect
from lightning_flows.transforms.image.conv1x1 import householder_matrix


@pytest.mark.parametrize("num", [1, 3, 9])
def test_products_of_reflections(num):
    vectors, x = torch.randn(4, num, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    forth, back = reflect(vectors, x), reflect(vectors, x, transposed=True)
    for i in range(4):
        matrix = torch.eye(5, dtype=torch.float64)
        for v in vectors[i]:
            matrix = matrix @ (torch.eye(5, dtype=torch.float64) - 2 * torch.outer(v, v) / (v @ v))
        torch.testing.assert_close(forth[i], matrix @ x[i], rtol=0, atol=1e-13)
        torch.testing.assert_close(back[i], matrix.T @ x[i], rtol=0, atol=1e-13)
        torch.testing.assert_close(householder_matrix(vectors[i]), matrix, rtol=0, atol=1e-13)
